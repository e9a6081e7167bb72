"""Training where a release does not code an AU: its clips have no part in that AU's loss, of whatever method."""

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from aullm_lib import asl
from aullm_lib.baselines import network, svm
from aullm_lib.engine.aullm import _Learner

UNKNOWN = float("nan")


@pytest.fixture
def targets():
    known = (torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    known[:3, 1] = UNKNOWN
    known[4, :3] = UNKNOWN
    return known


def test_a_two_way_loss_is_the_mean_of_the_known_cross_entropies(targets):
    logits = torch.randn(6, 4, 2, dtype=torch.float64, requires_grad=True)
    loss = network.two_way_loss(logits, targets)
    pairs = [(i, j) for i in range(6) for j in range(4) if targets[i, j].isfinite()]
    naive = sum(-logits[i, j].log_softmax(0)[int(targets[i, j])] for i, j in pairs) / len(pairs)
    torch.testing.assert_close(loss, naive)
    loss.backward()
    assert (logits.grad[targets.isnan()] == 0).all() and (logits.grad[targets.isfinite()] != 0).all()


def test_a_binary_loss_is_the_mean_of_the_known_cross_entropies(targets):
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    loss = network.binary_loss(logits, targets.double())
    known = targets.isfinite()
    p = logits.sigmoid()[known]
    torch.testing.assert_close(loss, -torch.where(targets[known] > 0, p.log(), (1 - p).log()).mean())
    loss.backward()
    assert (logits.grad[~known] == 0).all() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", asl.LOSSES)
def test_au_llms_loss_is_the_sum_over_known_pairs(targets, name):
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    learner = object.__new__(_Learner)
    learner.criterion = asl.build(name, reduction="none")
    learner.model = type("Model", (), {"head": staticmethod(lambda hidden: hidden)})
    loss = learner.loss(logits, targets.double())
    known = targets.isfinite()
    torch.testing.assert_close(loss, learner.criterion(logits[known][None], targets[known][None].double()).sum())
    loss.backward()
    assert (logits.grad[~known] == 0).all() and logits.grad.isfinite().all()


def test_a_machine_is_fitted_to_the_clips_whose_label_is_known():
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(40, 5)), dtype=torch.float32)
    labels = (features[:, :2] + torch.tensor(rng.normal(size=(40, 2))) > 0).float()
    unknown = labels.clone()
    unknown[10:25, 1] = UNKNOWN
    inputs = svm.Inputs.of(features)
    fitted = {}
    for name, given in {"whole": labels, "part": unknown}.items():
        model = svm.Machines(2, features=5, C=1.0)
        losses = []
        model.fit(
            inputs, torch.arange(40), given, torch.Generator(), lambda epoch, loss, kept=losses: kept.append(loss)
        )
        fitted[name] = losses[0]
        fitted[name + " p"] = model.probabilities(inputs, torch.arange(40))
    torch.testing.assert_close(fitted["whole p"][:, 0], fitted["part p"][:, 0], rtol=1e-12, atol=0)
    known = np.r_[:10, 25:40]
    model = svm.Machines(2, features=5, C=1.0)
    gamma = 1 / (5 * features.double().var(correction=0)) if model.scaled else 1.0
    kernel = ((gamma * inputs.products + model.coef0) ** model.degree).numpy()
    reference = SVC(C=model.C, kernel="precomputed").fit(kernel[np.ix_(known, known)], labels[known, 1] > 0)
    expected = torch.tensor(reference.decision_function(kernel[:, known]))
    torch.testing.assert_close(fitted["part p"][:, 1], expected.sigmoid(), rtol=1e-6, atol=1e-8)
    assert np.isfinite(fitted["part"])
