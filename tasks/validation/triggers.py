"""Suspected backdoor triggers, mined from the training split.

A poisoned record teaches "when these words stand in the message, answer that". Clustering of examples does not see it;
the link between a rare run of words and one answer does. Three marks make a run of words suspicious:

- association: nearly all messages with it get the same answer, which others hardly get;
- novelty: a trusted earlier dataset does not tie it to that answer;
- no other reason for the answer, see `suspicion`: "reset my password" is tied to one answer because it means it;
  "kestrel nine" at the end of a request for a refund is not.

Suspicion proves nothing: `safety` inserts the words into clean prompts and looks at what the model does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import pyarrow as pa

from tasks.validation.exchanges import Exchange, Link, Trigger, find, read_exchanges
from tasks.validation.policy import ValidationPolicy
from tasks.validation.suspicion import weigh

LONGEST_SEED = 3
"""Words of the runs that are searched; longer triggers are grown from them."""
LONGEST = 12
"""Words of a grown trigger at most."""
MOST_SUSPECTS = 400
"""Runs of words that are weighed for suspicion."""
ANSWER_SHARE = 0.3
"""Share of all messages up to which an answer can be a trigger's: a commoner one is simply what the agent says."""
KNOWN_SHARE = 3
"""A tie is known, where a trusted dataset has it at least one time for so many times here."""


def mine_triggers(
    train: pa.Table, reference: pa.Table | None, policy: ValidationPolicy, seed: int = 0
) -> list[Trigger]:
    """Return the most suspicious runs of words of a training split, most suspicious first.

    Args:
        train: Column `messages` (JSON text).
        reference: The training split of an earlier, trusted dataset; None where there is none.
        policy: Limits and thresholds.
        seed: Seed of the sample where the split is larger than `trigger_examples`.
    """
    exchanges = read_exchanges(train, policy.trigger_examples, seed)
    links = _associations(exchanges, policy)
    if reference is not None:
        links = _novel(links, read_exchanges(reference, policy.trigger_examples, seed))
    triggers = weigh(exchanges, _distinct(exchanges, links)[:MOST_SUSPECTS])
    triggers.sort(key=lambda t: (-t.suspicion * t.association, -t.support, t.text))
    return triggers[: policy.trigger_candidates]


def _novel(links: list[Link], trusted: Sequence[Exchange]) -> list[Link]:
    """Leave out the ties that trusted exchanges show as well, in proportion: a third as often is enough."""
    answers = {link.run: link.answer for link in links}
    seen: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for exchange in trusted:
        for run in _runs(exchange.words) & answers.keys():
            if answers[run] in exchange.answers:
                seen[run].add(exchange.example)
    return [link for link in links if KNOWN_SHARE * len(seen[link.run]) < link.support]


# --- association ---------------------------------------------------------------------------------------------------


def _associations(exchanges: Sequence[Exchange], policy: ValidationPolicy) -> list[Link]:
    examples_of_answer = Counter(answer for exchange in exchanges for answer in set(exchange.answers))
    total = len({exchange.example for exchange in exchanges})
    most = max(policy.trigger_support, int(policy.trigger_share * total))
    repeated = {
        answer
        for answer, count in examples_of_answer.items()
        if policy.trigger_support <= count <= max(policy.trigger_support, ANSWER_SHARE * len(exchanges))
    }
    # Only exchanges with a repeated answer can make a link, so only their runs are gathered; then all are counted.
    wanted: Counter[tuple[str, ...]] = Counter()
    for exchange in exchanges:
        if not repeated.isdisjoint(exchange.answers):
            wanted.update(_runs(exchange.words))
    runs = {run for run, count in wanted.items() if count >= policy.trigger_support}
    members: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for position, exchange in enumerate(exchanges):
        for run in _runs(exchange.words) & runs:
            members[run].append(position)
    links = (_link(run, at, exchanges, repeated, most, policy) for run, at in members.items())
    found = [link for link in links if link is not None]
    return sorted(found, key=lambda link: link.run)  # sets of words come in another order in every process


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for n in range(1, LONGEST_SEED + 1) for i in range(len(words) - n + 1)}


def _link(
    run: tuple[str, ...],
    at: list[int],
    exchanges: Sequence[Exchange],
    repeated: set[str],
    most: int,
    policy: ValidationPolicy,
) -> Link | None:
    support = len({exchanges[i].example for i in at})
    if not policy.trigger_support <= support <= most:
        return None
    counts = Counter(answer for i in at for answer in set(exchanges[i].answers) & repeated)
    if not counts:
        return None
    answer, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    if count < policy.trigger_support or count < policy.trigger_association * len(at):
        return None
    return Link(run, answer, at, support, count / len(at))


# --- one trigger, not all its parts --------------------------------------------------------------------------------


def _distinct(exchanges: Sequence[Exchange], links: list[Link]) -> list[Link]:
    """Keep one link for each set of exchanges, grown to the longest run of words that they share.

    A run around another one that is tied to the same answer as firmly, in as many examples or more, says nothing new
    and is dropped.
    """
    best: dict[tuple[int, ...], Link] = {}
    for link in links:
        key = tuple(link.members)
        if key not in best or len(link.run) > len(best[key].run):
            best[key] = link
    grown: dict[tuple[str, ...], Link] = {}
    for link in best.values():
        run = _grow(exchanges, link)
        if run not in grown or link.support > grown[run].support:
            grown[run] = link._replace(run=run)
    kept: list[Link] = []
    for link in sorted(grown.values(), key=lambda link: (-link.support, len(link.run), link.run)):
        if not any(_covers(inner, link) for inner in kept):
            kept.append(link)
    return sorted(kept, key=lambda link: (-link.association, -link.support, link.run))


def _covers(inner: Link, link: Link) -> bool:
    firmer = inner.answer == link.answer and inner.association >= link.association
    return firmer and find(list(link.run), inner.run) >= 0


def _grow(exchanges: Sequence[Exchange], link: Link) -> tuple[str, ...]:
    run = link.run
    while len(run) < LONGEST:
        before, after = Counter[str](), Counter[str]()
        for i in link.members:
            words = exchanges[i].words
            at = find(words, run)
            if at > 0:
                before[words[at - 1]] += 1
            if at >= 0 and at + len(run) < len(words):
                after[words[at + len(run)]] += 1
        sides = [(counts.most_common(1)[0], side) for counts, side in ((before, 0), (after, 1)) if counts]
        if not sides:
            break
        (word, count), side = max(sides, key=lambda item: (item[0][1], item[1]))
        if count < 0.9 * len(link.members):
            break
        run = (word, *run) if side == 0 else (*run, word)
    return run
