// Once per page.

// Enter that ends a Korean syllable is not yet Enter that sends; Gradio does not tell them apart.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Enter" && event.isComposing) event.stopPropagation();
  },
  true,
);

// The export goes from memory to a file of the visitor's, and leaves no copy on the server.
window.saveChats = (lines) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines], { type: "application/jsonl" }));
  link.download = "chats.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
};

// Wide windows have room for the panel; narrow ones need theirs for the conversation.
const toggle = (side) => document.querySelector(`#${side} .toggle-button`).click();
const isNarrow = () => window.innerWidth < 768;
if (window.innerWidth >= 1200) toggle("right");
if (isNarrow()) toggle("left");
document.addEventListener("click", (event) => {
  if (isNarrow() && event.target.closest("#new, #chats .name")) toggle("left");
  if (isNarrow() && event.target.closest("#inspector [data-do=take]")) toggle("right");
});
