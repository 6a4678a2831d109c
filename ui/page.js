// Once per page.

// Enter that ends a Korean syllable is not yet Enter that sends; Gradio does not tell them apart.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Enter" && event.isComposing) event.stopPropagation();
  },
  true,
);

// A text goes from memory to a file of the visitor's, and leaves no copy on the server.
window.save = (text, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
};

// Browsers give the clipboard to https and to this machine only; elsewhere a selection is copied.
window.copy = async (text) => {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    const before = document.activeElement;
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
    before?.focus();
  }
  tell(names().copied);
};

// Light or dark as the visitor chose, or as the system is.
const THEME = "controllable-chatbot-theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  const name = window.theme();
  document.body.classList.toggle("dark", name === "dark" || (name === "system" && system.matches));
  document.body.style.background = "var(--body-background-fill)"; // else that of the first paint
};
window.theme = () => localStorage.getItem(THEME) ?? "system";
window.setTheme = (name) => {
  localStorage.setItem(THEME, name);
  paint();
};
system.addEventListener("change", paint);
paint();

// For those who hear the page: its language, names of buttons that Gradio leaves unnamed, and each
// reply as it comes.
const names = () => document.querySelector("#brand b")?.dataset;
const draft = () => document.querySelector("#draft textarea");
const scroller = () => document.querySelector("#scroller");
const teller = document.body.appendChild(document.createElement("div"));
teller.className = "sr-only";
teller.setAttribute("role", "status");
const tell = (text) => (teller.textContent = text);
const name = () => {
  draft().dir = "auto";
  if (!names()) return;
  document.documentElement.lang = names().language;
  const named = {
    "#left .toggle-button": names().chats,
    "#right .toggle-button": names().panel,
    "#draft .submit-button": names().send,
    "#draft .stop-button": names().stop,
    "#down": names().down,
  };
  for (const [selector, text] of Object.entries(named)) {
    const button = document.querySelector(selector);
    if (!button || button.title === text) continue;
    button.title = text;
    button.setAttribute("aria-label", text);
  }
};
let busyChat; // the open chat while it is being answered
let openChat;
const hear = () => {
  const thread = document.querySelector("#conversation .thread");
  const [wasBusy, wasOpen] = [busyChat, openChat];
  openChat = thread?.dataset.chat;
  busyChat = thread?.classList.contains("busy") ? openChat : undefined;
  // To its end: the column is reversed.
  if (openChat !== wasOpen || (busyChat && busyChat !== wasBusy)) scroller().scrollTop = 0;
  const last = document.querySelector("#conversation .message.bot:last-child .words");
  if (wasBusy && wasBusy === openChat && !busyChat && last) tell(`${names().bot}: ${last.textContent}`);
};
const watchFor = (selector, act) =>
  new MutationObserver(act).observe(document.querySelector(selector), {
    childList: true,
    subtree: true,
  });
watchFor("#brand", name);
watchFor("#draft", name);
watchFor("#conversation", hear);
name();

// What is typed outlives a reload, which Gradio also makes by itself after a lost connection.
const DRAFT = "controllable-chatbot-draft";
window.addEventListener("pagehide", () => {
  const isEdit = document.querySelector("#editing") !== null;
  sessionStorage.setItem(DRAFT, isEdit ? "" : draft().value);
});
if (sessionStorage.getItem(DRAFT)) {
  draft().value = sessionStorage.getItem(DRAFT);
  draft().dispatchEvent(new Event("input", { bubbles: true }));
}

// When the program cannot be reached, Gradio says so in English, in a corner, and tries every two
// seconds; until then no press does anything, so it is said where one writes.
const lost = document.createElement("div");
lost.className = "problem";
lost.setAttribute("role", "alert");
new MutationObserver(() => {
  const boxes = [...document.querySelectorAll("[data-testid=toast-body]")];
  const box = boxes.find((one) => one.textContent.includes("Connection to the server was lost"));
  if (!box || lost.isConnected) return;
  box.style.display = "none";
  lost.textContent = names().lost;
  document.querySelector("#composer").prepend(lost);
}).observe(document.body, { childList: true, subtree: true });

// A way down for who reads further up.
const down = document.querySelector("#composer").appendChild(document.createElement("button"));
down.id = "down";
down.hidden = true;
down.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 5v14M6 13l6 6 6-6"/></svg>';
down.addEventListener("click", () => scroller().scrollTo({ top: 0, behavior: "smooth" }));
scroller().addEventListener("scroll", () => (down.hidden = scroller().scrollTop > -160));

// Wide windows have room for the panel, unless the visitor closed it; narrow ones need theirs for
// the conversation.
const PANEL = "controllable-chatbot-panel-open";
const isOpen = (side) => document.querySelector(`#${side}`).classList.contains("open");
const toggle = (side) => document.querySelector(`#${side} .toggle-button`).click();
const isNarrow = () => window.innerWidth < 768;
const wanted = localStorage.getItem(PANEL) ?? String(window.innerWidth >= 1200);
if (wanted === "true" && !isNarrow()) toggle("right");
if (isNarrow()) toggle("left");
document.addEventListener("click", (event) => {
  const pressed = (selector) => event.target.closest(selector);
  if (isNarrow() && pressed("#new, #chats .name")) toggle("left");
  if (isNarrow() && pressed("#inspector [data-do=take]")) toggle("right");
  if (!isNarrow() && event.isTrusted && pressed("#right .toggle-button")) {
    setTimeout(() => localStorage.setItem(PANEL, String(isOpen("right"))), 300);
  }
  const wanted = pressed("[data-panel]");
  if (wanted) {
    if (!isOpen("right")) toggle("right");
    document.querySelector(`#right [data-tab-id="${wanted.dataset.panel}"]`).click();
  }
  if (!isNarrow() && pressed("#new, #chats .name, .starters button")) draft().focus();
});

// In a window of middle width one side makes room for the other.
for (const [side, other] of [["left", "right"], ["right", "left"]]) {
  let wasOpen = isOpen(side);
  new MutationObserver(() => {
    const isOpened = isOpen(side) && !wasOpen;
    wasOpen = isOpen(side);
    if (isOpened && !isNarrow() && window.innerWidth < 1100 && isOpen(other)) toggle(other);
  }).observe(document.querySelector(`#${side}`), { attributeFilter: ["class"] });
}

// Who edits a message is at it at once; Escape leaves the edit, stops a reply, or closes the panel
// of a narrow window.
watchFor("#composer", (changes) => {
  const added = changes.flatMap((change) => [...change.addedNodes]);
  if (added.some((node) => node.id === "editing" || node.querySelector?.("#editing"))) draft().focus();
});
document.addEventListener("keydown", (event) => {
  const hasItsOwn = event.target.closest("#chats input, [role=combobox], #right input, #search");
  if (event.key !== "Escape" || event.isComposing || hasItsOwn) return;
  const shown = ["#editing button", "#draft .stop-button"]
    .map((selector) => document.querySelector(selector))
    .find((button) => button?.checkVisibility());
  if (shown) shown.click();
  else if (isNarrow() && isOpen("right")) toggle("right");
  else if (isNarrow() && isOpen("left")) toggle("left");
});

// The list of a dropdown scrolls, so that Tab would go into it, and lose itself when it closes; and
// Gradio opens the list at any key.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key !== "Tab") return;
    if (event.target.closest("[role=combobox]")) event.stopPropagation();
    for (const list of document.querySelectorAll(".option-list")) list.tabIndex = -1;
  },
  true,
);

// A number that a slider does not have becomes the nearest when one goes on, nothing the one before.
// Gradio would tell of it at every key, in a corner, in words for programmers.
const boundsOf = (box) =>
  box.matches?.("#right input[type=number]") && box.closest(".block").querySelector("input[type=range]");
document.addEventListener(
  "input",
  (event) => {
    const [box, bounds] = [event.target, boundsOf(event.target)];
    const isOne = box.value !== "" && +box.value >= +bounds.min && +box.value <= +bounds.max;
    if (bounds && !isOne) event.stopPropagation();
  },
  true,
);
document.addEventListener(
  "change",
  (event) => {
    const [box, bounds] = [event.target, boundsOf(event.target)];
    if (!bounds) return;
    const wanted = box.value === "" ? bounds.value : box.value;
    box.value = Math.min(Math.max(wanted, bounds.min), bounds.max);
    box.dispatchEvent(new Event("input", { bubbles: true }));
  },
  true,
);

// Labels: one press for what is shown, so that a fast second one does not answer what comes next;
// and a key for each button, where no text is being written. On a Korean keyboard Y is not "y".
let answered = null;
document.addEventListener(
  "click",
  (event) => {
    const shown = event.target.closest(".labelling");
    if (!shown || !event.target.closest("button")) return;
    if (shown.dataset.drawn === answered) event.stopPropagation();
    answered = shown.dataset.drawn;
  },
  true,
);
document.addEventListener("keydown", (event) => {
  const isText = event.target.closest(
    "textarea, select, [contenteditable], input:not([type=radio], [type=checkbox], [type=range])",
  );
  if (isText || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = /^[a-z]$/i.test(event.key) ? event.key.toLowerCase() : event.code.slice(-1).toLowerCase();
  const button = document.querySelector(`#right.open .labelling button[data-key="${CSS.escape(key)}"]`);
  if (button?.checkVisibility()) button.click();
});
