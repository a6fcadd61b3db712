"""What a turn-level Q-function reads off one pass, and what cannot change it."""

import pytest
import torch
from torch import Tensor

from itpo_core.q_centred import centred_log_ratios
from itpo_core.q_models import KINDS, QScores, new_q, rows_of, score_both, turn_places
from itpo_core.reward_model import ConversationTokens, ImplicitRewardModel
from tests.itpo_core.q_cases import TURNS, fresh_q, random_q, reference_of, spoken
from tests.itpo_core.tiny_models import NEVER, VOCABULARY, tiny_model

COMPARING = ("dueling_logratio", "implicit_prm")


def scored(kind: str, conversations: ConversationTokens) -> QScores:
    """By a Q-function with something to say."""
    return random_q(kind).score(conversations, reference_logprobs_BT=reference_of(conversations), turns=TURNS)


def test_with_phi_equal_to_the_reference_the_ratio_is_exactly_zero_and_q_is_the_value() -> None:
    conversations, _ = spoken(6)
    q = fresh_q()
    with torch.no_grad():
        q.head.weight.fill_(0.1)
        q.head.bias.fill_(-0.4)

    found = q.score(conversations, reference_logprobs_BT=reference_of(conversations), turns=TURNS)

    assert found.log_ratios_BK is not None
    assert found.values_BK is not None
    assert found.log_ratios_BK.tolist() == [[0.0, 0.0]] * 6
    assert torch.equal(found.logits_BK, found.values_BK)
    assert float(found.values_BK.std()) > 0.01


def test_the_dueling_logit_by_its_definition() -> None:
    conversations, _ = spoken(4)
    q = random_q("dueling_logratio")
    hidden_BTH = q.model.base_model(input_ids=conversations.tokens_BT).last_hidden_state
    phi_BT = ImplicitRewardModel(q.model, 1.0, NEVER).logprobs(conversations)
    ratios_BT = phi_BT - reference_of(conversations)

    found = q.score(conversations, reference_logprobs_BT=reference_of(conversations), turns=TURNS)

    # Turn 0 holds tokens 2 and 3, turn 1 tokens 5 and 6; the head reads the token before.
    values_BK = q.head(hidden_BTH[:, [1, 4]])[..., 0]
    sums_BK = torch.stack([ratios_BT[:, 2:4].sum(1), ratios_BT[:, 5:7].sum(1)], dim=1)
    torch.testing.assert_close(found.logits_BK, (values_BK + 0.5 * sums_BK).detach())


def test_the_scalar_head_reads_the_last_token_of_the_turn() -> None:
    conversations, _ = spoken(4)
    q = random_q("scalar_head")
    hidden_BTH = q.model.base_model(input_ids=conversations.tokens_BT).last_hidden_state

    found = q.score(conversations, reference_logprobs_BT=None, turns=TURNS)

    torch.testing.assert_close(found.logits_BK, q.head(hidden_BTH[:, [3, 6]])[..., 0].detach())
    assert found.values_BK is None
    assert found.log_ratios_BK is None


def test_the_implicit_reward_model_sums_this_and_all_earlier_turns() -> None:
    conversations, _ = spoken(4)
    q = random_q("implicit_prm")
    reference_BT = reference_of(conversations)
    scores_BK = ImplicitRewardModel(q.model, q.beta, NEVER).score(
        conversations, reference_logprobs_BT=reference_BT, turns=TURNS
    )

    found = q.score(conversations, reference_logprobs_BT=reference_BT, turns=TURNS)

    torch.testing.assert_close(found.logits_BK, 0.3 + scores_BK.cumsum(dim=1))
    torch.testing.assert_close(found.values_BK, 0.3 + scores_BK.cumsum(dim=1) - scores_BK)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str) -> None:
    conversations, _ = spoken(5)
    wider = ConversationTokens(
        torch.nn.functional.pad(conversations.tokens_BT, (0, 6), value=9),
        torch.nn.functional.pad(conversations.turn_BT, (0, 6), value=-1),
        conversations.lengths_B,
    )

    plain, padded = scored(kind, conversations), scored(kind, wider)

    assert torch.equal(plain.logits_BK, padded.logits_BK)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_rows_scored_one_four_or_sixteen_at_a_time_are_the_same(kind: str, batch: int) -> None:
    conversations, _ = spoken(16)

    parts = [scored(kind, rows_of(conversations, rows)) for rows in torch.arange(16).split(batch)]

    together_BK = torch.cat([part.logits_BK for part in parts])
    torch.testing.assert_close(together_BK, scored(kind, conversations).logits_BK, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_user_text_after_the_last_turn_changes_nothing(kind: str) -> None:
    conversations, _ = spoken(6)
    other_BT = conversations.tokens_BT.clone()
    other_BT[2::3, 8] = 11
    changed = ConversationTokens(other_BT, conversations.turn_BT, conversations.lengths_B)

    assert torch.equal(scored(kind, conversations).logits_BK, scored(kind, changed).logits_BK)


def test_the_ratio_learns_from_policy_tokens_only() -> None:
    conversations, _ = spoken(4)
    q = random_q("dueling_logratio")
    other = random_q("dueling_logratio")
    logprobs_BTV = _all_logprobs(other.model, conversations.tokens_BT)
    picked_BT = logprobs_BTV.gather(2, conversations.tokens_BT[:, 1:, None])[..., 0]

    found = q.forward(conversations, reference_logprobs_BT=reference_of(conversations), turns=TURNS)
    assert found.log_ratios_BK is not None
    found.log_ratios_BK.sum().backward()
    (0.5 * picked_BT[conversations.is_policy_BT[:, 1:]].sum()).backward()

    for one, two in zip(q.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-4, rtol=1e-4)
    assert q.head.weight.grad is None or not q.head.weight.grad.any()


def test_a_turn_that_did_not_happen_scores_zero_and_a_conversation_may_have_none() -> None:
    conversations, _ = spoken(3)
    turn_BT = conversations.turn_BT.clone()
    turn_BT[0] = -1
    turn_BT[1, 5:7] = -1
    fewer = ConversationTokens(conversations.tokens_BT, turn_BT, conversations.lengths_B)

    for kind in KINDS:
        logits_BK = scored(kind, fewer).logits_BK

        assert logits_BK[0].tolist() == [0.0, 0.0]
        assert logits_BK[1, 1] == 0.0
        assert logits_BK[2].abs().min() > 0


def test_places_by_hand() -> None:
    places = turn_places(torch.tensor([[-1, 0, 0, -1, 1], [-1, -1, 0, -1, -1]]), turns=3)

    assert places.first_BK.tolist() == [[1, 4, -1], [2, -1, -1]]
    assert places.last_BK.tolist() == [[2, 4, -1], [2, -1, -1]]


def test_q_and_the_reward_model_share_a_pass_when_they_share_their_model() -> None:
    conversations, _ = spoken(6)
    q = random_q("dueling_logratio")
    reference_BT = reference_of(conversations)
    passes: list[int] = []
    q.model.register_forward_pre_hook(lambda *_: passes.append(1))
    q.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    prm = ImplicitRewardModel(q.model, 0.2, NEVER)

    scores, turn_scores_BK = score_both(
        q,
        prm,
        conversations=conversations,
        q_reference_BT=reference_BT,
        prm_reference_BT=reference_BT,
        turns=TURNS,
    )

    assert len(passes) == 1
    assert scores.log_ratios_BK is not None
    torch.testing.assert_close(turn_scores_BK, 0.4 * scores.log_ratios_BK)


def test_q_and_another_reward_model_are_each_scored_by_their_own() -> None:
    conversations, _ = spoken(6)
    reference_BT = reference_of(conversations)
    prm = ImplicitRewardModel(tiny_model(seed=8), 0.2, NEVER)

    _, turn_scores_BK = score_both(
        random_q("dueling_logratio"),
        prm,
        conversations=conversations,
        q_reference_BT=reference_BT,
        prm_reference_BT=reference_BT,
        turns=TURNS,
    )

    wanted_BK = prm.score(conversations, reference_logprobs_BT=reference_BT, turns=TURNS)
    assert torch.equal(turn_scores_BK, wanted_BK)


def test_a_centred_ratio_has_no_mean_under_the_speaker_whatever_the_reference() -> None:
    said = torch.tensor([token for token in range(VOCABULARY) if token not in NEVER])
    pairs = torch.cartesian_prod(said, said)
    tokens_BT = torch.cat([torch.tensor([[6, 7]]).expand(len(pairs), 2), pairs], dim=1)
    turn_BT = torch.tensor([[-1, -1, 0, 0]]).expand(len(pairs), 4)
    every = ConversationTokens(tokens_BT, turn_BT, torch.full((len(pairs),), 4))
    speaker = tiny_model(seed=9)

    ratios_B = centred_log_ratios(
        random_q("dueling_logratio"), every, reference=tiny_model(), speaker=speaker, turns=1
    )[:, 0]

    chances_B = ImplicitRewardModel(speaker, 1.0, NEVER).logprobs(every).sum(dim=1).exp()
    assert float(chances_B.sum()) == pytest.approx(1.0, abs=1e-4)
    assert float(ratios_B.abs().mean()) > 0.1
    assert float((chances_B * ratios_B).sum()) == pytest.approx(0.0, abs=1e-5)


def test_a_centred_ratio_is_exactly_zero_for_phi_equal_to_the_reference() -> None:
    conversations, _ = spoken(6)

    ratios_BK = centred_log_ratios(
        fresh_q(), conversations, reference=tiny_model(), speaker=tiny_model(seed=4), turns=TURNS
    )

    assert ratios_BK.tolist() == [[0.0, 0.0]] * 6


def test_what_cannot_be_scored_is_refused_by_name() -> None:
    conversations, _ = spoken(2)
    early = ConversationTokens(
        conversations.tokens_BT, torch.zeros_like(conversations.turn_BT), conversations.lengths_B
    )

    with pytest.raises(ValueError, match="q kind 'duel' is unknown"):
        new_q("duel", tiny_model())
    with pytest.raises(ValueError, match=r"beta 0\.0"):
        new_q("value", tiny_model(), beta=0.0)
    with pytest.raises(ValueError, match="reference_logprobs_BT"):
        fresh_q().score(conversations, reference_logprobs_BT=None, turns=TURNS)
    with pytest.raises(ValueError, match="does not fit 1 turns"):
        fresh_q().score(conversations, reference_logprobs_BT=None, turns=1)
    with pytest.raises(ValueError, match="starts with a prompt"):
        fresh_q().score(early, reference_logprobs_BT=None, turns=TURNS)


def _all_logprobs(model: torch.nn.Module, tokens_BT: Tensor) -> Tensor:
    logits_BTV = model(input_ids=tokens_BT).logits[:, :-1].float()
    logits_BTV[..., list(NEVER)] = -1e9
    return logits_BTV.log_softmax(dim=-1)
