"""A comparison as HTML: two replies side by side, or replies over strengths with their cost."""

from html import escape

from ui.comparing import SWEEP, Answer, Comparison
from ui.markup import TIMES, Sayer, bullets, hue, notice, number, problem, progress
from ui.notes import said
from ui.plots import Curve, curves


def comparison_html(now: Comparison, say: Sayer) -> str:
    """What is compared, as far as it is done."""
    body = ""
    if now.answers:
        body = _sweep(now, say) if now.attribute is not None else _pair(now, say)
        question = f'<p class="more">{say("compared", seed=now.seed)}</p>'
        body = (
            f'{question}<div class="message user"><div class="words">{escape(now.question)}</div>'
            f"</div>{body}"
        )
    return f'<div class="inspector comparison">{_told(now, say)}{body}</div>'


def _told(now: Comparison, say: Sayer) -> str:
    if now.problem:
        return problem(now.problem)
    if now.key is not None:
        return progress(now.progress)
    return notice(now.notice) if now.notice else ""


def _pair(now: Comparison, say: Sayer) -> str:
    """Base on the left, steered on the right, and what was measured of both below."""
    sides = "".join(
        f'<div class="side"><h4>{say(head)}</h4>'
        f'<div class="words" dir="auto">{escape(answer.text)}</div></div>'
        for head, answer in zip(("base", "steered"), now.answers, strict=False)
    )
    if len(now.answers) < 2:
        return f'<div class="sides">{sides}</div>'
    base, steered = now.answers
    same = f'<p class="more">{say("same_reply")}</p>' if base.text == steered.text else ""
    notes = bullets(escape(said(say.language, note)) for note in steered.notes)
    return f'<div class="sides">{sides}</div>{same}{notes}{_measured(base, steered, say)}'


def _measured(base: Answer, steered: Answer, say: Sayer) -> str:
    """One row for each attribute that is asked for, and one for the perplexity."""
    rows = "".join(
        f'<tr><td><i class="dot" {hue(name)}></i>{say.attribute(name)}</td>'
        f"<td>{number(steered.asked.get(name, 0.0))}</td>"
        f"<td>{_from_to(base.shown.get(name), shown, 2)}</td></tr>"
        for name, shown in steered.shown.items()
    )
    ratio = number(_ratio(steered, base))
    cost = f"{_from_to(base.perplexity, steered.perplexity, 1)} ({TIMES}{ratio})"
    rows += f'<tr title="{say("perplexity_more")}"><td colspan="2">{say("perplexity")}</td>'
    rows += f"<td>{cost}</td></tr>"
    heads = f"<th></th><th>{say('asked')}</th><th>{say('shown_both')}</th>"
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _from_to(before: float | None, after: float | None, digits: int) -> str:
    if before is None and after is None:
        return number(None)
    return f"{number(before, digits)} → {number(after, digits)}"


def _ratio(answer: Answer, base: Answer) -> float | None:
    if answer.perplexity is None or base.perplexity is None:
        return None
    return answer.perplexity / base.perplexity


def _sweep(now: Comparison, say: Sayer) -> str:
    """Strength shown over strength asked, the perplexity ratio below, and the replies."""
    attribute, answers = now.attribute or "", now.answers
    missing = [None] * (len(SWEEP) - len(answers))
    shown = [*(answer.shown.get(attribute) for answer in answers), *missing]
    ratios = [*(_ratio(answer, answers[0]) for answer in answers), *missing]
    ticks = [f"{strength:g}" for strength in SWEEP]
    high = max([2.0, *(ratio for ratio in ratios if ratio is not None)])
    plots = ""
    if any(value is not None for value in shown):
        asked = Curve(attribute, list(SWEEP), "dashed")
        label = say("shown_over_asked")
        plots += f"<h4>{label}</h4>" + curves(
            [asked, Curve(attribute, shown)], ticks=ticks, label=label
        )
    else:
        plots += f'<p class="more">{say("nothing_reads")}</p>'
    label = say("cost_over_asked")
    plots += f"<h4>{label}</h4>" + curves(
        [Curve("neutral", [1.0] * len(SWEEP), "dashed"), Curve("neutral", ratios)],
        ticks=ticks, high=float(round(high + 0.45)), label=label,
    )  # fmt: skip
    rows = "".join(
        _swept(strength, now, answer, say) for strength, answer in zip(SWEEP, answers, strict=False)
    )
    heads = f"<th>{say('asked')}</th><th>{say('shown')}</th><th>{say('cost')}</th>"
    return (
        f"<h4><i class='dot' {hue(attribute)}></i>{say.attribute(attribute)}</h4>{plots}"
        f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _swept(strength: float, now: Comparison, answer: Answer, say: Sayer) -> str:
    notes = " ".join(f"<span>{escape(said(say.language, note))}</span>" for note in answer.notes)
    shown = answer.shown.get(now.attribute or "")
    return (
        f'<tr><td><div class="words">{escape(answer.text)}</div><div class="marks">{notes}</div>'
        f"</td><td>{number(strength)}</td><td>{number(shown)}</td>"
        f"<td>{TIMES}{number(_ratio(answer, now.answers[0]))}</td></tr>"
    )
