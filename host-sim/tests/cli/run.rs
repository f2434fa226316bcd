//! `ripple run` as its users meet it: stop strings, a sliding window, turns, sessions, chats.

use crate::commands::{fresh, pack_demo};
use assert_cmd::Command;
use ripple_host_sim::model::chat::ChatTemplate;
use ripple_host_sim::run::chat::{Message, render};
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder with an image of each family.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = fresh("run");
        for name in ["story-nano", "novel-opt"] {
            pack_demo(&folder, name, name, |_| {});
        }
        pack_demo(&folder, "story-nano", "chatty", |model| {
            let tokens = [("eos_token".to_owned(), "<end>".to_owned())].into();
            let template = format!("{TEMPLATE}{{{{ eos_token }}}}");
            model.chat_template = Some(ChatTemplate { template, tokens });
        });
        std::fs::write(folder.join("template"), TEMPLATE).unwrap();
        std::fs::write(folder.join("with-end"), format!("{TEMPLATE}<end>")).unwrap();
        folder
    })
}

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content.strip() }}\n{% endfor %}";

fn ripple(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder()).arg("run").args(args).env("RUST_BACKTRACE", "0");
    command
}

/// The whole of standard output.
fn ok(args: &[&str]) -> String {
    let output = ripple(args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

/// The text, and the report.
fn run(args: &[&str]) -> (String, String) {
    let out = ok(args);
    let (text, report) = out.split_once("\n\nsimulated").unwrap();
    (text.to_owned(), report.to_owned())
}

/// What `lines` on standard input make of `story-nano`.
fn interactive(lines: &str, more: &[&str]) -> String {
    let mut command = ripple(&[&["story-nano", "--interactive"], more].concat());
    let output = command.write_stdin(lines).assert().success().get_output().clone();
    let told = String::from_utf8(output.stderr).unwrap();
    let answers = |line: &str| line.starts_with("saved ") || line.contains(" tokens from ");
    assert!(told.lines().all(answers), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str], lines: &str) -> String {
    let output = ripple(args).write_stdin(lines).assert().failure().get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let args = ["story-nano", "-p", "One day,", "-n", "60"];
    let (whole, _) = run(&args);
    for speculate in ["0", "8"] {
        for (from, length) in [(20, 3), (31, 9), (50, 1)] {
            let stop = &whole[from..from + length];
            let more = ["--stop", stop, "--stop", "never said", "--speculate", speculate];
            let (text, report) = run(&[&args[..], &more].concat());
            let prompt = "One day,".len();
            let at = prompt + whole[prompt..].find(stop).unwrap();
            assert_eq!(text, whole[..at], "{stop:?}");
            assert!(report.contains("generated; a stop string was found"), "{report}");
        }
    }
    let json = ok(&[&args[..], &["--json", "--stop", &whole[20..30]]].concat());
    assert!(json.contains("\"end\": \"stop-string\""), "{json}");
}

#[test]
fn a_window_goes_on_beyond_the_context_with_the_same_text_however_it_is_fed() {
    let prompt = "Once upon a time there was a little girl who liked to play in the big garden \
        with her red ball, and her mother told her to come home before it was dark outside.";
    let args = ["story-nano", "-p", prompt, "-n", "100", "--context", "32"];
    assert!(refused(&args, "").contains("the context is 32"));
    let window = [&args[..], &["--overflow", "window"]].concat();
    let (text, report) = run(&window);
    assert!(report.contains("100 generated\n"), "{report}");
    for more in [["--speculate", "0"], ["--batch", "1"], ["--batch", "7"], ["--map", "none"]] {
        assert_eq!(run(&[&window[..], &more].concat()).0, text, "{more:?}");
    }
    assert_ne!(run(&[&window[..], &["--sinks", "0"]].concat()).0, text);
    let error = refused(&[&window[..], &["--sinks", "32"]].concat(), "");
    assert!(error.contains("--sinks 32: expected fewer than the 32 positions"), "{error}");
    let error = refused(&["novel-opt", "--overflow", "window"], "");
    assert!(
        error.contains("--overflow window: the positions of this model are learned"),
        "{error}"
    );
}

#[test]
fn a_kv_cache_on_the_card_gives_the_same_text() {
    let args = ["-p", "One day,", "-n", "200", "--cache", "0"];
    for image in ["story-nano", "novel-opt"] {
        for kv in ["f16", "q8"] {
            let args = [&[image][..], &args, &["--kv", kv]].concat();
            let (text, report) = run(&args);
            for more in [["--map", "dense"], ["--speculate", "0"], ["--map", "none"]] {
                let spill = [&args[..], &["--kv-spill", "130"], &more].concat();
                let (spilled, other) = run(&spill);
                assert_eq!(spilled, text, "{image} {kv} {more:?}");
                assert_ne!(other, report);
            }
        }
    }
    let error = refused(&["story-nano", "-n", "50", "--kv-spill", "3"], "");
    assert!(error.contains("--kv-spill 3: expected at least "), "{error}");
    let both = ["story-nano", "--kv-spill", "64", "--overflow", "window"];
    assert!(refused(&both, "").contains("expected one of them"));
    let spill = ["story-nano", "--interactive", "-n", "100", "--kv-spill", "64"];
    let error = refused(&spill, "One day,\n/save x\n");
    assert!(error.contains("positions are on the card"), "{error}");
}

#[test]
fn texts_may_begin_with_dashes() {
    let plain = run(&["story-nano", "--prompt=- hello", "-n", "8"]).0;
    assert!(plain.starts_with("- hello"));
    assert_eq!(run(&["story-nano", "--prompt", "- hello", "-n", "8"]).0, plain);
    assert_eq!(run(&["story-nano", "-p", "- hello", "-n", "8"]).0, plain);
    assert!(run(&["story-nano", "--prompt", "---", "-n", "1"]).0.starts_with("---"));
    // Stop strings: of what is generated, up to any of these.
    let reply = plain.strip_prefix("- hello").unwrap();
    let dashed =
        run(&["story-nano", "-p", "- hello", "-n", "8", "--stop", "---", "--stop", "-x"]).0;
    assert_eq!(dashed, plain);
    assert!(!reply.contains('-'));
    let chat = ["story-nano", "--chat", "--template", "template", "-p", "-", "-n", "4"];
    let joined = run(&[&chat[..], &["--system=-- be brief"]].concat()).0;
    assert_eq!(run(&[&chat[..], &["--system", "-- be brief"]].concat()).0, joined);
}

#[test]
fn turns_go_on_with_one_text() {
    let options = ["-n", "12"];
    let (first, _) = run(&["story-nano", "-p", "One day,", "-n", "12"]);
    let (longer, _) = run(&["story-nano", "-p", "One day,", "-n", "24"]);
    let turns = interactive("One day,\n\n", &options);
    let lines: Vec<_> = turns.lines().collect();
    assert_eq!(format!("One day,{}", lines[0]), first);
    assert_eq!(format!("One day,{}{}", lines[0], lines[1]), longer);
    // A new text after /reset; and a line that begins with a slash.
    let again = interactive("One day,\n/reset\nOne day,\n/reset\n//s\n", &options);
    assert!(again.starts_with(&format!("{0}\n{0}\n", lines[0])), "{again}");
    assert_eq!(again.lines().count(), 3);
}

#[test]
fn a_saved_text_goes_on_as_if_it_had_not_been() {
    for kv in ["f16", "q8"] {
        let file = format!("saved-{kv}");
        let options = ["-n", "12", "--kv", kv];
        let save = format!("One day,\n/save {file}\nThen\n");
        let both = interactive(&save, &options);
        let after = interactive(&format!("/load {file}\nThen\n"), &options);
        assert_eq!(both.split_once('\n').unwrap().1, after);
    }
    let load = "/load saved-f16\n";
    let error = refused(&["story-nano", "--interactive", "--kv", "q8"], load);
    assert!(error.contains("saved-f16: its KV cache holds f16, expected q8"), "{error}");
    let error = refused(&["novel-opt", "--interactive"], load);
    assert!(error.contains("saved-f16: made with image"), "{error}");
    let error = refused(&["story-nano", "--interactive"], "/load story-nano\n");
    assert!(error.contains("story-nano: not a session"), "{error}");
    for (line, says) in [("/lode x", "/lode: no such command"), ("/save", "the name of a file")] {
        assert!(refused(&["story-nano", "--interactive"], line).contains(says), "{line}");
    }
}

#[test]
fn an_image_with_a_template_needs_nothing_else_for_a_chat() {
    let ask = ["--chat", "--prompt", "Once", "-n", "6"];
    let given = |image: &str, template: &str| {
        run(&[&[image], &ask[..], &["--template", template]].concat()).0
    };
    let own = run(&[&["chatty"], &ask[..]].concat()).0;
    assert_eq!(own, given("story-nano", "with-end"));
    // The text without a chat, and another template, are what they are without it.
    let plain = ["--prompt", "Once", "-n", "6"];
    let text = |image: &str| run(&[&[image], &plain[..]].concat()).0;
    assert_eq!(text("chatty"), text("story-nano"));
    assert_eq!(given("chatty", "template"), given("story-nano", "template"));
    // The image, and its folder's other files, are where a template may come from.
    assert_eq!(given("story-nano", "chatty"), own);
    let error = refused(&["story-nano", "--chat", "--template", "story-nano"], "");
    assert!(error.contains("story-nano: no chat template in it"), "{error}");
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_ripple"));
    let output = inspect.current_dir(folder()).args(["inspect", "chatty"]).assert().success();
    let shown = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(shown.contains("chat template"), "{shown}");
}

#[cfg(unix)]
#[test]
fn a_template_that_does_not_end_is_left_by_the_first_interrupt() {
    let long = "{% for a in range(99999) %}{% for b in range(99999) %}\
                {% set c = messages | tojson | upper | lower | replace('a', 'b') %}\
                {% endfor %}{% endfor %}";
    std::fs::write(folder().join("long"), long).unwrap();
    let prompt = "word ".repeat(20_000);
    let args = ["run", "story-nano", "--chat", "--template", "long", "-p", &prompt];
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ripple"))
            .current_dir(folder())
            .args(args)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(child.try_wait().unwrap(), None, "it renders");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(begun.elapsed().as_secs() < 5);
    }
}

#[test]
fn a_chat_of_turns_says_what_a_chat_from_the_start_says() {
    let chat = ["--chat", "--template", "template", "--system", "Tell a story.", "-n", "10"];
    let turns = interactive("\nOnce\nMore\n", &chat);
    let replies: Vec<_> = turns.split('\n').collect();
    // Replies may be of several lines: the first is what one prompt gives.
    let once = run(&[&["story-nano", "--prompt", "Once"], &chat[..]].concat()).0;
    assert!(turns.starts_with(&format!("{once}\n")), "{replies:?}");
    let second = turns[once.len() + 1..].trim_end_matches('\n');

    let messages = [("system", "Tell a story."), ("user", "Once"), ("assistant", &once)]
        .map(|(role, content)| Message::new(role, content));
    let template = ChatTemplate { template: TEMPLATE.to_owned(), ..ChatTemplate::default() };
    let so_far = render(&template, &messages, true).unwrap();
    let literal =
        format!("{so_far}\n{{{{ messages[0].role }}}}: {{{{ messages[0].content }}}}\n\n");
    std::fs::write(folder().join("literal"), literal).unwrap();
    let args = ["story-nano", "--chat", "--template", "literal", "--prompt", "More", "-n", "10"];
    assert_eq!(run(&args).0.trim_end_matches('\n'), second);

    // An empty line lets the answer go on, and it is one.
    let longer = ["--chat", "--template", "template", "--system", "Tell a story.", "-n", "20"];
    let longer = run(&[&["story-nano", "--prompt", "Once"], &longer[..]].concat()).0;
    let (first, rest) = longer.split_at(once.len());
    assert_eq!(first, once);
    let turns = interactive("Once\n\n", &chat);
    assert_eq!(turns, format!("{first}\n{rest}\n"));
    let error = refused(&["story-nano", "--chat"], "");
    assert!(error.contains("there is no chat template in the image"), "{error}");
    let error = refused(&["story-nano", "--interactive", "--chat", "--template", "."], "");
    assert!(
        error.contains("looked for chat_template.jinja, chat_template.json, tokenizer_config.json"),
        "{error}"
    );
}

#[test]
fn a_prompt_comes_from_the_command_a_file_or_standard_input() {
    let options = ["-n", "12"];
    let (text, _) = run(&[&["story-nano", "-p", "One day,"], &options[..]].concat());
    std::fs::write(folder().join("prompt"), "One day,\n").unwrap();
    let sent = |args: &[&str], input: &str| {
        let mut command = ripple(&[args, &options].concat());
        let output = command.write_stdin(input).assert().success().get_output().clone();
        let out = String::from_utf8(output.stdout).unwrap();
        out.split_once("\n\nsimulated").unwrap().0.to_owned()
    };
    for (args, input) in [
        (&["story-nano", "-f", "prompt"][..], "not this"),
        (&["story-nano", "--file", "prompt"], "not this"),
        (&["story-nano", "-p", "-"], "One day,\n"),
        (&["story-nano"], "One day,"),
        (&["story-nano", "-p", "One day,"], "not this"),
    ] {
        assert_eq!(sent(args, input), text, "{args:?}");
    }
    for (args, words) in [
        (&["story-nano", "-f", "nosuch"][..], "nosuch: no such file"),
        (&["story-nano", "-f", "prompt", "-p", "x"], "cannot be used with"),
        (&["story-nano", "-i", "-p", "-"], "--prompt -: it takes all of standard input"),
    ] {
        let error = refused(args, "");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_session_begins_with_the_prompt_and_ends_with_quit() {
    let (first, _) = run(&["story-nano", "-p", "One day,", "-n", "12"]);
    let turns = interactive("\n/quit\nnever read", &["-p", "One day,", "-n", "12"]);
    let (longer, _) = run(&["story-nano", "-p", "One day,", "-n", "24"]);
    let lines: Vec<_> = turns.lines().collect();
    assert_eq!((lines[0], lines.len()), (&*first, 2));
    assert_eq!(format!("{}{}", lines[0], lines[1]), longer);
}

#[test]
fn a_text_that_may_not_end_goes_on() {
    let args = ["story-nano", "-p", "One day,", "-n", "230"];
    let (text, report) = run(&args);
    assert!(report.contains("; the text ended"), "{report}");
    let (longer, report) = run(&[&args[..], &["--ignore-eos"]].concat());
    assert!(report.contains("230 generated\n"), "{report}");
    assert!(longer.starts_with(&text) && longer.len() > text.len(), "{longer}");
    let json = ok(&[&args[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["host"]["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(report.contains("\nmeasured   on this machine: "), "{report}");
}
