"""Every sentence of the interface, in each of its languages."""

from typing import Literal

Language = Literal["en", "ko"]

LANGUAGES: dict[Language, str] = {"en": "English", "ko": "한국어"}

_TEXTS: dict[str, tuple[str, str]] = {
    # name: (English, Korean)
    "title": ("Controllable chatbot", "조절 가능한 챗봇"),
    # conversation list
    "new": ("New chat", "새 대화"),
    "search": ("Search chats", "대화 검색"),
    "today": ("Today", "오늘"),
    "yesterday": ("Yesterday", "어제"),
    "last_week": ("Last 7 days", "지난 7일"),
    "earlier": ("Earlier", "그 이전"),
    "untitled": ("Untitled", "제목 없음"),
    "no_chats": ("No chats yet.", "아직 대화가 없습니다."),
    "none_found": ("Nothing found.", "찾은 대화가 없습니다."),
    "more_chats": ("Show more ({n})", "더 보기 ({n})"),
    "rename": ("Rename", "이름 바꾸기"),
    "delete": ("Delete", "삭제"),
    "delete_sure": ("Delete for good?", "완전히 삭제할까요?"),
    "keep": ("Keep", "취소"),
    "export": ("Export chats", "대화 내보내기"),
    "import": ("Import chats", "대화 가져오기"),
    "imported": ("Chats imported: {n}.", "대화 {n}개를 가져왔습니다."),
    "import_failed": ("Nothing was imported. {why}", "가져오지 못했습니다. {why}"),
    "import_not_text": ("It is not a UTF-8 text file.", "UTF-8 텍스트 파일이 아닙니다."),
    "language": ("Language", "언어"),
    # conversation
    "greeting": ("What shall we talk about?", "무슨 이야기를 할까요?"),
    "greeting_more": (
        "A small model on this machine: what you write stays here. It makes mistakes and makes "
        "things up.",
        "이 컴퓨터에서 실행되는 작은 모델이라 쓴 글이 밖으로 나가지 않습니다. 틀린 말이나 지어낸 "
        "말을 할 수 있습니다.",
    ),
    "greeting_steer": ("Set a mood or a topic for its replies", "답변의 감정이나 주제 정하기"),
    "starter_1": ("Hi! How was your day?", "안녕! 오늘 하루 어땠어?"),
    "starter_2": ("Guess what, I won the tournament!", "있잖아, 나 대회에서 우승했어!"),
    "starter_3": ("I can't decide what to eat tonight.", "오늘 저녁 뭐 먹을지 못 정하겠어."),
    "message": ("Write a message", "메시지를 입력하세요"),
    "send": ("Send", "보내기"),
    "stop": ("Stop", "정지"),
    "down": ("To the newest message", "최신 메시지로"),
    "keys": (
        "Enter sends, Shift+Enter begins a line, Esc stops",
        "Enter 보내기, Shift+Enter 줄 바꿈, Esc 정지",
    ),
    "chats": ("Chats", "대화 목록"),
    "panel": ("Steering and details", "조절과 자세한 내용"),
    "copied": ("Copied", "복사했습니다"),
    "lost": (
        "The program does not answer; it may have been ended. Start it again: this page goes on by "
        "itself then. What you typed is kept.",
        "프로그램이 응답하지 않습니다. 종료되었다면 다시 시작해 주세요. 그러면 이 페이지가 저절로 "
        "이어집니다. 입력한 글은 남아 있습니다.",
    ),
    "editing": (
        "Editing; the old version stays beside the new one.",
        "수정 중: 이전 메시지도 함께 남습니다.",
    ),
    "cancel": ("Cancel", "취소"),
    "you": ("You", "나"),
    "bot": ("Bot", "봇"),
    "edit": ("Edit", "수정"),
    "retry": ("Try again", "다시 시도"),
    "copy": ("Copy", "복사"),
    "like": ("Good reply", "좋은 답변"),
    "dislike": ("Bad reply", "나쁜 답변"),
    "inspect": ("How this reply came about", "답변이 만들어진 과정"),
    "earlier_version": ("Previous version", "이전 버전"),
    "later_version": ("Next version", "다음 버전"),
    "shown_of": ("shown {value}", "나타남 {value}"),
    "rule_acted": ("Topic rule: {name}", "주제 규칙: {name}"),
    "unanswered": (
        "No reply yet; your message is kept.",
        "아직 답변이 없고 메시지는 그대로 있습니다.",
    ),
    "being_answered": ("Being answered", "답변하는 중"),
    "stopped": ("Stopped.", "정지했습니다."),
    "loading": ("The model is still loading …", "모델을 불러오는 중입니다 …"),
    "waiting": ("Waiting for another reply to finish …", "다른 답변이 끝나기를 기다리는 중 …"),
    "reading": ("Reading the conversation …", "대화를 읽는 중 …"),
    "progress": (
        "{candidates} candidates, token {tokens} of {max_tokens}",
        "후보 {candidates}개, 토큰 {tokens}/{max_tokens}",
    ),
    "went_wrong": (
        "Something went wrong: {why}",
        "문제가 생겼습니다: {why}",
    ),
    "gone": ("This chat was deleted.", "삭제된 대화입니다."),
    # settings
    "settings": ("Settings", "설정"),
    "candidates": ("Candidates", "후보 수"),
    "candidates_more": (
        "Replies drawn for each message; you see the best.",
        "이만큼 만들어 가장 좋은 답을 고릅니다.",
    ),
    "temperature": ("Temperature", "온도"),
    "temperature_more": (
        "Low: the words one expects. High: surprising ones.",
        "낮으면 무난하고 높으면 의외의 말을 합니다.",
    ),
    "top_k": ("Top k", "Top k"),
    "top_k_more": (
        "Draw only among the k likeliest tokens. 0: among all.",
        "가능성 높은 k개 토큰만 사용, 0은 전부.",
    ),
    "top_p": ("Top p", "Top p"),
    "top_p_more": (
        "Draw only among the likeliest tokens that hold this share. 1: among all.",
        "이 확률만큼을 차지하는 토큰만 사용.",
    ),
    "max_new_tokens": ("Longest reply", "최대 답변 길이"),
    "max_new_tokens_more": ("In tokens; a word has one or two.", "토큰 수 (한 낱말은 한두 토큰)."),
    "novelty": ("Novelty", "새로움"),
    "novelty_more": (
        "Higher: fewer replies that would fit any message.",
        "어디에나 맞는 뻔한 답을 낮춥니다.",
    ),
    "seed": ("Seed", "시드"),
    "seed_more": (
        "One seed, the same reply. Empty: a new one each time.",
        "같은 시드는 같은 답을 냅니다. 비우면 매번 새로.",
    ),
    "defaults": ("Back to defaults", "기본값으로"),
    # steering
    "steering": ("Steering", "조절"),
    "steer_not": ("Do not steer", "조절하지 않기"),
    "topics": ("Topics", "주제"),
    "topic_strength": ("Topic strength", "주제 세기"),
    "attribute_joy": ("Joy", "기쁨"),
    "attribute_surprise": ("Surprise", "놀람"),
    "attribute_anger": ("Anger", "분노"),
    "attribute_sadness": ("Sadness", "슬픔"),
    "attribute_fear": ("Fear", "두려움"),
    "attribute_disgust": ("Disgust", "혐오"),
    "attribute_positive": ("Positive", "긍정"),
    "attribute_negative": ("Negative", "부정"),
    "attribute_food": ("Food", "음식"),
    "attribute_game": ("Games", "게임"),
    "attribute_music": ("Music", "음악"),
    "attribute_science": ("Science", "과학"),
    "attribute_sports": ("Sports", "스포츠"),
    "attribute_technology": ("Technology", "기술"),
    "attribute_travel": ("Travel", "여행"),
    "asked": ("Asked", "요청"),
    "fit": ("Fit", "적합"),
    "attribute_neutral": ("Neutral", "중립"),
    "mix": ("Asked of the next reply", "다음 답변에 요청한 것"),
    "no_mix": (
        "No steering. Choose a topic or move a slider: it acts on the next reply.",
        "조절 없음. 주제를 고르거나 슬라이더를 움직이면 다음 답변에 쓰입니다.",
    ),
    "moods": ("Mood: more of it to the right, less to the left", "감정: 오른쪽은 더, 왼쪽은 덜"),
    "not_steered": ("No steering", "조절 없음"),
    "presets": ("Save and share presets", "프리셋 저장과 공유"),
    "preset": ("Preset", "프리셋"),
    "shipped_cheerful": ("cheerful", "명랑한"),
    "shipped_calm": ("calm", "차분한"),
    "shipped_gloomy": ("gloomy", "우울한"),
    "shipped_rising anger": ("rising anger", "점점 화나는"),
    "shipped_gamer": ("gamer", "게이머"),
    "preset_name": ("Name", "이름"),
    "preset_save": ("Save", "저장"),
    "preset_delete": ("Delete", "삭제"),
    "preset_json": ("Preset as JSON", "프리셋 JSON"),
    "preset_json_more": (
        "Copy it to share, or paste one and use it.",
        "복사해 공유하거나, 붙여 넣고 사용하세요.",
    ),
    "preset_use": ("Use this JSON", "이 JSON 사용"),
    "preset_download": ("Download", "내려받기"),
    "preset_used": ("{name} is set.", "{name} 적용됨."),
    "preset_saved": ("{name} is saved in this browser.", "{name} 저장됨 (이 브라우저)."),
    "preset_deleted": ("{name} is deleted.", "{name} 삭제됨."),
    "schedule": ("Change over the turns", "턴에 따른 변화"),
    "schedule_attribute": ("Attribute", "속성"),
    "schedule_kind": ("Kind", "방식"),
    "schedule_start": ("Begins at", "처음 세기"),
    "schedule_end": ("Ends at (ramp)", "마지막 (변화)"),
    "schedule_turns": ("Turns", "턴 수"),
    "schedule_turns_more": (
        "Until the end of a ramp or hold; to half of a fading one.",
        "변화·유지는 끝까지, 약해짐은 절반까지의 턴 수.",
    ),
    "schedule_add": ("Set", "설정"),
    "kind_ramp": ("Ramp", "점점 변화"),
    "kind_decay": ("Fade", "점점 약해짐"),
    "kind_hold": ("Hold, then nothing", "유지 후 없음"),
    "kind_constant": ("Constant", "일정하게"),
    "kind_insult": ("After an insult, then fade", "모욕당하면, 이후 약해짐"),
    "no_schedule": (
        "No attribute changes over the turns. A scheduled one leaves its slider aside.",
        "턴에 따라 변하는 속성이 없습니다. 설정하면 해당 슬라이더 대신 쓰입니다.",
    ),
    "scheduled_now": (
        "{name}, {way}: {value} in the next reply",
        "{name}, {way}: 다음 답변 {value}",
    ),
    "unschedule": ("Take out of the schedule", "변화에서 빼기"),
    "rising": ("rising", "커지는 중"),
    "falling": ("falling", "작아지는 중"),
    "steady": ("steady", "그대로"),
    "waiting_for_insult": ("waits for an insult", "모욕을 기다리는 중"),
    "rules": ("Topic rules", "주제 규칙"),
    "rules_more": (
        "What a reply is held to when you speak of a sensitive topic. Off: it may go wrong.",
        "민감한 주제에서 답변을 붙드는 규칙. 끄면 문제가 생길 수 있습니다.",
    ),
    "rule_politics": ("Politics", "정치"),
    "rule_religion": ("Religion", "종교"),
    "rule_sexual": ("Sexuality", "성"),
    "rule_race": ("Race", "인종"),
    "rule_crime": ("Crime", "범죄"),
    "rule_crime-victim": ("Crime, told by a victim", "범죄 피해"),
    "rule_none": ("Nothing sensitive", "민감하지 않음"),
    "how": ("How it steers", "조절 방식"),
    "mode": ("Mode", "방식"),
    "mode_more": (
        "Fast solves for each push in closed form. The others follow gradients, about 2 and 10 "
        "times slower.",
        "빠름은 계산식으로 바로 풀고, 나머지는 기울기를 따라가 약 2배와 10배 느립니다.",
    ),
    "mode_hidden": ("Fast (hidden)", "빠름 (hidden)"),
    "mode_layers": ("Deeper (layers)", "깊게 (layers)"),
    "mode_pplm": ("Slowest (PPLM)", "가장 느림 (PPLM)"),
    "feedback": ("Correct itself", "스스로 고치기"),
    "feedback_more": (
        "Asks more of the next reply where the last one showed too little, less where too much.",
        "직전 답변이 모자라거나 넘친 만큼 다음 답변을 고칩니다.",
    ),
    "theme": ("Colours", "색상"),
    "theme_system": ("System", "시스템"),
    "theme_light": ("Light", "밝게"),
    "theme_dark": ("Dark", "어둡게"),
    # comparison
    "compare": ("Compare", "비교"),
    "compare_base": ("With and without steering", "조절 전후 비교"),
    "compare_hint": (
        "Answers your last message again, with and without steering, under one seed. "
        "The conversation stays as it is.",
        "마지막 메시지를 같은 시드로 조절 없이, 조절하여 다시 답합니다. 대화는 그대로입니다.",
    ),
    "sweep": ("Try five strengths", "다섯 가지 세기"),
    "sweep_attribute": ("Attribute", "속성"),
    "compare_stop": ("Stop", "정지"),
    "compared": ("Seed {seed}", "시드 {seed}"),
    "base": ("Without steering", "조절 없음"),
    "steered": ("With steering", "조절함"),
    "same_reply": (
        "Steering changed nothing: both are the same reply.",
        "조절해도 같은 답변이 나왔습니다.",
    ),
    "shown_both": ("Shown without → with", "나타남 전 → 후"),
    "perplexity": ("Perplexity", "퍼플렉시티"),
    "perplexity_more": (
        "How unlikely the words are, per token, under the model that is not steered",
        "조절하지 않은 모델이 본, 토큰당 낱말의 뜻밖임",
    ),
    "shown": ("Shown", "나타남"),
    "cost": ("Cost", "비용"),
    "shown_over_asked": ("Shown in the reply, over strength asked", "요청 세기에 따른 나타난 세기"),
    "cost_over_asked": (
        "Perplexity, as a multiple of the reply without steering",
        "조절 없는 답변 대비 퍼플렉시티 배수",
    ),
    "nothing_reads": (
        "No model reads this attribute from a text; only the cost is drawn.",
        "이 속성을 글에서 읽는 모델이 없어 비용만 그립니다.",
    ),
    "answer_of": ("Reply {n} of {total}", "답변 {n}/{total}"),
    "comparison_stopped": ("Stopped; what was done is shown.", "정지했습니다. 끝난 것만 보입니다."),
    "comparing_already": (
        "A comparison is running; wait, or stop it.",
        "비교 중입니다. 기다리거나 정지하세요.",
    ),
    "nothing_asked": ("Send a message first; it is what is compared.", "먼저 메시지를 보내세요."),
    "nothing_to_compare": (
        "Nothing is asked of the next reply: move a slider first.",
        "요청한 것이 없습니다. 먼저 슬라이더를 움직이세요.",
    ),
    "choose_attribute": ("Choose an attribute first.", "비교할 속성을 고르세요."),
    "compare_failed": ("The comparison failed: {why}", "비교에 실패했습니다: {why}"),
    # labels
    "label": ("Label", "평가"),
    "label_sensible": (
        "Does the response make sense after this conversation? If anything seems off "
        "(confusing, illogical, out of context, factually wrong), it does not.",
        "이 대화 뒤에 말이 되는 응답인가요? 혼란스럽거나, 논리에 맞지 않거나, 문맥에서 벗어나거나, "
        "사실과 다르면 말이 되지 않는 것입니다.",
    ),
    "label_specific": (
        "Is it specific to this conversation? It is not if it would do as well in dozens of "
        "others.",
        "이 대화에 구체적인 응답인가요? 다른 수많은 대화에도 그대로 쓸 수 있으면 아닙니다.",
    ),
    "label_name_sensible": ("Sensible?", "말이 되나요?"),
    "label_name_specific": ("Specific?", "구체적인가요?"),
    "label_yes": ("Yes", "예"),
    "label_maybe": ("Maybe", "애매함"),
    "label_no": ("No", "아니요"),
    "label_undo": ("Take back", "되돌리기"),
    "label_progress": ("{n} of {total}", "{total}개 중 {n}번째"),
    "label_response": ("Response to judge", "평가할 응답"),
    "label_done": (
        "All {total} responses are labelled. Thank you.",
        "응답 {total}개를 모두 평가했습니다. 감사합니다.",
    ),
    "label_retry": ("Try again", "다시 시도"),
    # inspector
    "outcome_chosen": ("The best of all candidates.", "후보 가운데 가장 좋은 답입니다."),
    "outcome_regenerated": (
        "All candidates were rejected; this one was drawn again, held neutral.",
        "모든 후보가 거절되어 중립으로 다시 만들었습니다.",
    ),
    "outcome_deflected": (
        "All candidates were rejected twice; this is a ready-made reply.",
        "후보가 두 번 모두 거절되어 준비된 답을 했습니다.",
    ),
    "all_candidates": ("Candidates", "후보"),
    "outcome_counts": ("{n} candidates, {dropped} ruled out.", "후보 {n}개, 제외 {dropped}개."),
    "another_taken": (
        "You chose another candidate; the rest tells of the bot's own choice.",
        "다른 후보를 골랐습니다. 아래는 봇이 고른 답에 대한 것입니다.",
    ),
    "rules_fired": ("Topic rules that acted", "작동한 주제 규칙"),
    "rule_sets": ("Sets {what}.", "설정: {what}."),
    "rule_asides": ("Leaves out {what}.", "제외: {what}."),
    "tokens": ("What steering did to each token", "토큰마다 조절이 한 일"),
    "tokens_more": (
        "How much likelier steering made the token that was drawn. Point at one for numbers.",
        "조절로 그 토큰의 확률이 얼마나 높아졌는지. 가리키면 숫자가 보입니다.",
    ),
    "likelier": ("likelier", "높아짐"),
    "unlikelier": ("less likely", "낮아짐"),
    "token_gain": (
        "{times}\N{MULTIPLICATION SIGN} as likely as without steering; moved {kl} nats",
        "조절 없을 때의 {times}\N{MULTIPLICATION SIGN}; 이동 {kl} nat",
    ),
    "attributes": ("Attributes", "속성"),
    "read": ("Shown", "나타남"),
    "read_more": (
        "Probability that the finished reply shows it, read by a learned model",
        "완성된 답변에 나타날 확률 (학습된 모델의 판독)",
    ),
    "by_token": ("By token", "토큰별"),
    "effect": (
        "At each token, pale before steering and full after: the mass of its words, "
        "or its log-likelihood in the gradient modes",
        "토큰별, 조절 전(연하게)과 후: 해당 단어의 비중, 기울기 방식에서는 로그우도",
    ),
    "words_came": ("list words {came} (asked {wanted})", "목록 단어 {came} (요청 {wanted})"),
    "pushed": ("pushed {push}\N{MULTIPLICATION SIGN}", "밀기 {push}\N{MULTIPLICATION SIGN}"),
    "steered_how": (
        "Drawn at {share}\N{MULTIPLICATION SIGN} the strengths asked. Mode: {mode}.",
        "요청한 세기의 {share}\N{MULTIPLICATION SIGN}(으)로 만들었습니다. 방식: {mode}.",
    ),
    "by_turn": ("Over the turns", "턴에 따라"),
    "by_turn_more": (
        "Dashed: strength asked. Solid: shown in the reply.",
        "점선: 요청한 세기. 실선: 답변에서 읽은 확률.",
    ),
    "facts": ("Details", "자세한 내용"),
    "coherence": ("Sense", "맥락"),
    "coherence_more": (
        "Higher: more weight on replies that fit this conversation and no other.",
        "높으면 이 대화에만 어울리는 답을 더 고릅니다.",
    ),
    "coherence_of": (
        "How well it answers this conversation rather than any, in nats",
        "다른 대화보다 이 대화에 얼마나 어울리는지 (nat)",
    ),
    "fit_of": ("How far it shows what was asked, 0 to 1", "요청한 것이 나타난 정도, 0–1"),
    "risk": ("Risk", "위험"),
    "risk_of": ("How unethical the filter holds it, 0 to 1", "윤리 필터가 본 위험도, 0–1"),
    "score_of": ("What candidates are sorted by, in nats", "후보를 정렬하는 값 (nat)"),
    "best_score": ("highest score", "가장 높은 점수"),
    "dropped_rejected": ("rejected by the ethics filter", "윤리 필터가 거절"),
    "verdict_accepted": ("accepted", "허용"),
    "verdict_like_example": ("like an unethical example", "비윤리적 예시와 비슷함"),
    "verdict_risky_here": ("harmful as an answer to this", "이 말에 대한 답으로 해로움"),
    "verdict_risky": ("harmful, by what was learned", "학습된 기준으로 해로움"),
    "verdict_near": ("Nearest example: {text}", "가장 가까운 예시: {text}"),
    "category_biased-opinion": ("Biased opinion", "편향된 의견"),
    "category_crime": ("Crime", "범죄"),
    "category_gender": ("Gender", "성별"),
    "category_hate": ("Hate", "혐오 표현"),
    "category_insult": ("Insult", "모욕"),
    "category_other": ("Something else", "그 밖의 문제"),
    "category_politics": ("Politics", "정치"),
    "category_race": ("Race", "인종"),
    "category_religion": ("Religion", "종교"),
    "category_self-harm": ("Self-harm", "자해"),
    "category_sexual": ("Sexuality", "성"),
    "category_unsafe-advice": ("Unsafe advice", "위험한 조언"),
    "category_violence": ("Violence", "폭력"),
    "sensitive": ("Topics", "주제"),
    "timing_policy": ("rules", "규칙"),
    "timing_ethics": ("filter", "필터"),
    "reply": ("Reply", "답변"),
    "nothing_inspected": (
        "Choose a reply to see how it came about.",
        "답변을 고르면 만들어진 과정이 보입니다.",
    ),
    "not_drawn": (
        "This message was written or imported; there is nothing to tell about it.",
        "직접 쓰거나 가져온 메시지라 보여 줄 과정이 없습니다.",
    ),
    "monotony": ("Said or asked again", "되풀이"),
    "log_likelihood": ("Log-likelihood per token", "토큰당 로그우도"),
    "log_likelihood_short": ("log p", "log p"),
    "score": ("Score", "점수"),
    "chosen": ("Chosen", "선택됨"),
    "chosen_by_you": ("Chosen by you", "내가 선택함"),
    "take": ("Use this reply", "이 답변 사용"),
    "use_seed": ("Keep this seed", "이 시드 고정"),
    "model": ("Model", "모델"),
    "context": ("Context", "문맥"),
    "context_read": ("turns read: {turns}, tokens: {tokens}", "{turns}턴, 토큰 {tokens}개"),
    "context_cut": ("older turns left out: {dropped}", "이전 {dropped}턴 제외"),
    "truncated": ("tokens cut from its start: {tokens}", "앞부분 토큰 {tokens}개 잘림"),
    "steps": ("Steps", "단계"),
    "time": ("Time", "시간"),
    "timing_prompt": ("prompt", "문맥"),
    "timing_decoding": ("drawing", "생성"),
    "timing_coherence": ("sense", "맥락"),
    "timing_ranking": ("ranking", "순위"),
    "timing_total": ("in all", "전체"),
    "notes": ("Notes", "알림"),
    "timing_steering": ("steering", "조절"),
    "dropped_empty": ("says nothing", "내용 없음"),
    "dropped_broken_text": ("broken characters", "깨진 글자"),
    "dropped_duplicate": ("said by a better one", "중복"),
    "dropped_other_language": ("in another language", "다른 언어"),
    "dropped_repeats_turn": ("repeats an earlier turn", "앞 대화 반복"),
    "dropped_repeats_itself": ("repeats itself", "스스로 반복"),
    "finish_length": ("cut at the longest length", "최대 길이에서 잘림"),
}


def text(language: Language, name: str, /, **values: object) -> str:
    """The sentence of a name, with `values` put in; plain text, not HTML."""
    return _TEXTS[name][list(LANGUAGES).index(language)].format(**values)


def attribute_name(language: Language, attribute: str) -> str:
    """What an attribute is called; its own name where it is one of the visitor's."""
    name = f"attribute_{attribute}"
    return text(language, name) if has_text(name) else attribute


def preset_name(language: Language, preset: str) -> str:
    """What a shipped preset is called; the name itself where it is none."""
    name = f"shipped_{preset}"
    return text(language, name) if has_text(name) else preset


def has_text(name: str) -> bool:
    """Whether there is a sentence of this name."""
    return name in _TEXTS


def preferred_language(accept_language: str) -> Language:
    """Of the languages a browser asks for, the first that the interface speaks."""
    for part in accept_language.lower().split(","):
        for language in LANGUAGES:
            if part.strip().startswith(language):
                return language
    return "en"
