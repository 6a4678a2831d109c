"""A comparison as HTML: two replies side by side, or replies over strengths with their cost."""

from html import escape

from ui.comparing import SWEEP, Answer, Comparison
from ui.markup import TIMES, Sayer, bullets, hue, icon, number
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
        return f'<div class="problem" role="alert">{icon("alert")}{escape(now.problem)}</div>'
    if now.key is not None:
        return (
            '<div class="status" role="status"><span class="dots"><i></i><i></i><i></i></span>'
            f"<span>{escape(now.progress)}</span></div>"
        )
    if now.notice:
        return f'<div class="status" role="status">{escape(now.notice)}</div>'
    return "" if now.answers else f'<p class="hint">{say("compare_hint")}</p>'


def _pair(now: Comparison, say: Sayer) -> str:
    """Base on the left, steered on the right."""
    heads = ("base", "steered")
    sides = "".join(
        f'<div class="side"><h4>{say(head)}</h4>'
        f'<div class="words" dir="auto">{escape(answer.text)}</div>'
        f"{_readings(answer, say)}{_cost(answer, now.answers[0], say)}"
        f"{bullets(map(escape, answer.notes))}</div>"
        for head, answer in zip(heads, now.answers, strict=False)
    )
    same = ""
    if len(now.answers) == 2 and now.answers[0].text == now.answers[1].text:
        same = f'<p class="more">{say("same_reply")}</p>'
    return f'<div class="sides">{sides}</div>{same}'


def _readings(answer: Answer, say: Sayer) -> str:
    rows = ""
    for name, shown in answer.shown.items():
        told = say("asked_shown", asked=number(answer.asked.get(name, 0.0)), shown=number(shown))
        rows += f'<div><i class="dot" {hue(name)}></i>{say.attribute(name)} {told}</div>'
    return f'<div class="readings">{rows}</div>'


def _cost(answer: Answer, base: Answer, say: Sayer) -> str:
    told = say("perplexity", value=number(answer.perplexity, 1), ratio=number(_ratio(answer, base)))
    return f'<p class="more" title="{say("perplexity_more")}">{told}</p>'


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
        _swept(attribute, s, a, answers[0]) for s, a in zip(SWEEP, answers, strict=False)
    )
    heads = f"<th>{say('asked')}</th><th>{say('shown')}</th><th>{say('cost')}</th>"
    return (
        f"<h4><i class='dot' {hue(attribute)}></i>{say.attribute(attribute)}</h4>{plots}"
        f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _swept(attribute: str, strength: float, answer: Answer, base: Answer) -> str:
    notes = " ".join(f"<span>{escape(note)}</span>" for note in answer.notes)
    return (
        f'<tr><td><div class="words">{escape(answer.text)}</div><div class="marks">{notes}</div>'
        f"</td><td>{number(strength)}</td><td>{number(answer.shown.get(attribute))}</td>"
        f"<td>{TIMES}{number(_ratio(answer, base))}</td></tr>"
    )
