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

// Wide windows have room for the panel, unless the visitor closed it; narrow ones need theirs for
// the conversation.
const PANEL = "controllable-chatbot-panel-open";
const toggle = (side) => document.querySelector(`#${side} .toggle-button`).click();
const isNarrow = () => window.innerWidth < 768;
const wanted = localStorage.getItem(PANEL) ?? String(window.innerWidth >= 1200);
if (wanted === "true" && !isNarrow()) toggle("right");
if (isNarrow()) toggle("left");
document.addEventListener("click", (event) => {
  if (isNarrow() && event.target.closest("#new, #chats .name")) toggle("left");
  if (isNarrow() && event.target.closest("#inspector [data-do=take]")) toggle("right");
  if (!isNarrow() && event.isTrusted && event.target.closest("#right .toggle-button")) {
    const open = () => document.querySelector("#right").classList.contains("open");
    setTimeout(() => localStorage.setItem(PANEL, String(open())), 300);
  }
});

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
