// Arrow keys and the mouse wheel over the pictures, summed in the browser so that no step is lost while the server
// draws. Sends {mount, steps}: steps since this mount, which the server compares with what it has seen.

const WHEEL_PIXELS = 60; // of a wheel or touchpad per step
const TYPING = "textarea, input:not([type=range]):not([type=checkbox]):not([type=radio]), [contenteditable=true]";
const OWN_ARROWS = "[data-testid=stDataFrame], [role=option], [role=tab], input[type=range]";

export default function ({ parentElement, setStateValue }) {
  const first = parentElement.scroll_ === undefined;
  const state = (parentElement.scroll_ ??= { mount: crypto.getRandomValues(new Uint32Array(1))[0], steps: 0, wheel: 0 });
  state.send = setStateValue; // the newest one: this function is called again on every run
  if (!first) return state.stop;

  const step = (by) => state.send("moved", { mount: state.mount, steps: (state.steps += by) });

  const keydown = (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.(`${TYPING}, ${OWN_ARROWS}`)) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  };

  const wheel = (event) => {
    if (event.ctrlKey || !event.target.closest?.("[class*=st-key-viewer]")) return;
    event.preventDefault(); // the slice moves, not the page
    state.wheel += event.deltaMode === 0 ? event.deltaY : Math.sign(event.deltaY) * WHEEL_PIXELS;
    const by = Math.trunc(state.wheel / WHEEL_PIXELS);
    state.wheel -= by * WHEEL_PIXELS;
    if (by) step(by);
  };

  // A slider or switch that was clicked keeps the keyboard to itself; give it back to the page.
  const released = () =>
    setTimeout(() => {
      const active = document.activeElement;
      if (active && active !== document.body && !active.closest(`${TYPING}, [data-testid=stDataFrame]`)) active.blur();
    });

  document.addEventListener("keydown", keydown);
  document.addEventListener("wheel", wheel, { passive: false });
  document.addEventListener("click", released);
  document.addEventListener("pointerup", released);
  state.stop = () => {
    document.removeEventListener("keydown", keydown);
    document.removeEventListener("wheel", wheel);
    document.removeEventListener("click", released);
    document.removeEventListener("pointerup", released);
  };
  return state.stop;
}
