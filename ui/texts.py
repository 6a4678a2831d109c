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
    "untitled": ("Untitled", "제목 없음"),
    "no_chats": ("No chats yet.", "아직 대화가 없습니다."),
    "none_found": ("Nothing found.", "찾은 대화가 없습니다."),
    "rename": ("Rename", "이름 바꾸기"),
    "delete": ("Delete", "삭제"),
    "delete_sure": ("Delete for good?", "완전히 삭제할까요?"),
    "keep": ("Keep", "취소"),
    "export": ("Export", "내보내기"),
    "import": ("Import", "가져오기"),
    "imported": ("{n} chats imported.", "대화 {n}개를 가져왔습니다."),
    "import_failed": ("Nothing was imported. {why}", "가져오지 못했습니다. {why}"),
    "import_not_text": ("It is not a UTF-8 text file.", "UTF-8 텍스트 파일이 아닙니다."),
    "language": ("Language", "언어"),
    # conversation
    "greeting": ("What shall we talk about?", "무슨 이야기를 할까요?"),
    "greeting_more": (
        "A small model that runs on this machine. It makes mistakes and makes things up.",
        "이 컴퓨터에서 실행되는 작은 모델입니다. 틀린 말이나 지어낸 말을 할 수 있습니다.",
    ),
    "starter_1": ("Hi! How was your day?", "안녕! 오늘 하루 어땠어?"),
    "starter_2": ("Guess what, I won the tournament!", "있잖아, 나 대회에서 우승했어!"),
    "starter_3": ("I can't decide what to eat tonight.", "오늘 저녁 뭐 먹을지 못 정하겠어."),
    "message": ("Write a message", "메시지를 입력하세요"),
    "editing": (
        "Editing: the version so far is kept beside the new one.",
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
    "earlier_version": ("Version before", "이전 버전"),
    "later_version": ("Version after", "다음 버전"),
    "unanswered": ("No reply yet.", "아직 답변이 없습니다."),
    "stopped": ("Stopped. Your message is kept.", "정지했습니다. 메시지는 그대로 있습니다."),
    "loading": ("The model is still loading …", "모델을 불러오는 중입니다 …"),
    "waiting": ("Waiting for another reply to finish …", "다른 답변이 끝나기를 기다리는 중 …"),
    "reading": ("Reading the conversation …", "대화를 읽는 중 …"),
    "progress": (
        "{candidates} candidates, token {tokens} of {max_tokens}",
        "후보 {candidates}개, 토큰 {tokens}/{max_tokens}",
    ),
    "went_wrong": (
        "Something went wrong, your message is kept: {why}",
        "문제가 생겼습니다. 메시지는 그대로 있습니다: {why}",
    ),
    "gone": ("This chat was deleted.", "삭제된 대화입니다."),
    # settings
    "settings": ("Settings", "설정"),
    "candidates": ("Candidates", "후보 수"),
    "candidates_more": (
        "Replies drawn; the best one is given.",
        "이만큼 만들어 가장 좋은 답을 고릅니다.",
    ),
    "temperature": ("Temperature", "온도"),
    "temperature_more": (
        "Low: expected words. High: surprising ones.",
        "낮으면 무난하고 높으면 의외의 말을 합니다.",
    ),
    "top_k": ("Top k", "Top k"),
    "top_k_more": (
        "Only the k likeliest tokens; 0 for all.",
        "가능성 높은 k개 토큰만 사용, 0은 전부.",
    ),
    "top_p": ("Top p", "Top p"),
    "top_p_more": (
        "Only tokens that hold this share of probability.",
        "이 확률만큼을 차지하는 토큰만 사용.",
    ),
    "max_new_tokens": ("Longest reply", "최대 답변 길이"),
    "max_new_tokens_more": ("In tokens.", "토큰 수."),
    "novelty": ("Novelty", "새로움"),
    "novelty_more": (
        "Lowers replies that would fit anything.",
        "어디에나 맞는 뻔한 답을 낮춥니다.",
    ),
    "seed": ("Seed", "시드"),
    "seed_more": (
        "The same one gives the same reply. Empty: always new.",
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
    "words_came": ("Came / wanted", "실제 / 목표"),
    "by_token": ("By token", "토큰별"),
    "fit": ("Fit", "적합"),
    "effect": (
        "Share of its words at each token, after steering",
        "토큰별 해당 단어의 비중 (조절 후)",
    ),
    # inspector
    "reply": ("Reply", "답변"),
    "nothing_inspected": (
        "Choose a reply to see how it came about.",
        "답변을 고르면 만들어진 과정이 보입니다.",
    ),
    "not_drawn": (
        "This message was written or imported; there is nothing to tell about it.",
        "직접 쓰거나 가져온 메시지라 보여 줄 과정이 없습니다.",
    ),
    "candidate": ("Candidate", "후보"),
    "log_likelihood": ("Log-likelihood per token", "토큰당 로그우도"),
    "log_likelihood_short": ("log p", "log p"),
    "score": ("Score", "점수"),
    "chosen": ("Chosen", "선택됨"),
    "chosen_by_you": ("Chosen by you", "내가 선택함"),
    "take": ("Use this reply", "이 답변 사용"),
    "use_seed": ("Keep this seed", "이 시드 고정"),
    "model": ("Model", "모델"),
    "context": ("Context", "문맥"),
    "context_read": ("{turns} turns, {tokens} tokens", "{turns}턴, 토큰 {tokens}개"),
    "context_cut": ("{dropped} older turns left out", "이전 {dropped}턴 제외"),
    "truncated": ("{tokens} tokens cut from the start", "앞부분 토큰 {tokens}개 잘림"),
    "steps": ("Steps", "단계"),
    "time": ("Time", "시간"),
    "timing_prompt": ("prompt", "문맥"),
    "timing_decoding": ("drawing", "생성"),
    "timing_ranking": ("ranking", "순위"),
    "timing_total": ("in all", "전체"),
    "notes": ("Notes", "알림"),
    "timing_steering": ("steering", "조절"),
    "dropped_empty": ("says nothing", "내용 없음"),
    "dropped_broken_text": ("broken characters", "깨진 글자"),
    "dropped_duplicate": ("said by a better one", "중복"),
    "dropped_repeats_turn": ("repeats an earlier turn", "앞 대화 반복"),
    "dropped_repeats_itself": ("repeats itself", "스스로 반복"),
    "finish_length": ("cut at the longest length", "최대 길이에서 잘림"),
}


def text(language: Language, name: str, **values: object) -> str:
    """The sentence of a name, with `values` put in; plain text, not HTML."""
    return _TEXTS[name][list(LANGUAGES).index(language)].format(**values)


def attribute_name(language: Language, attribute: str) -> str:
    """What an attribute is called; its own name where it is one of the visitor's."""
    name = f"attribute_{attribute}"
    return text(language, name) if has_text(name) else attribute


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
