import { useState } from "preact/hooks";
import { post } from "../api";
import { begin } from "../store";

export function Login() {
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    setBusy(true);
    try {
      await post("session", { key: new FormData(form).get("key") });
      await begin();
    } catch (error) {
      form.reset();
      setWrong(error instanceof Error ? error.message : "That did not work.");
    } finally {
      setBusy(false);
    }
  }
  return (
    <main class="login" id="main">
      <h1>Millrace</h1>
      <form onSubmit={(e) => void submit(e)}>
        <label for="key">Key</label>
        <input id="key" name="key" type="password" autocomplete="current-password" required spellcheck={false} aria-describedby="wrong" />
        <p id="wrong" class="wrong" role="alert">{wrong}</p>
        <button type="submit" disabled={busy}>Log in</button>
      </form>
      <p class="soft">A key whose role is viewer or operator. It is exchanged for a session and not kept.</p>
    </main>
  );
}
