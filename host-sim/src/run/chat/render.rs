//! Renders a template, which may be anything: in a thread of its own, within limits.
//!
//! In: a template, what it may name. Out: text, or why there is none. Knows nothing of where either is
//! from.

use super::environment::environment;
use super::source::rewrite;
use crate::process::failure::Interrupted;
use crate::process::interrupt;
use anyhow::{Result, anyhow, bail};
use jiff::civil::DateTime;
use minijinja::Value;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

/// Of a template; those of models have up to 20 KB.
const MOST_TEMPLATE: usize = 1 << 20;
/// Bytes of stack: two hundred calls within calls, with what is nested in each.
const STACK: usize = 256 << 20;
const LONGEST: Duration = Duration::from_secs(20);
/// How often somebody looks whether to stop.
const PAUSE: Duration = Duration::from_millis(20);
const THREAD: &str = "chat template";

/// Renders `template` with the `names` that it may use, at the time `now`.
///
/// # Errors
/// When it is no template, refuses what it is given, takes too much, or is interrupted.
pub(super) fn render(template: &str, names: Value, now: DateTime) -> Result<String> {
    let refused = |why: String| anyhow!("the chat template cannot be rendered: {why}");
    if template.len() > MOST_TEMPLATE {
        let bytes = template.len();
        return Err(refused(format!("{bytes} bytes, expected at most {MOST_TEMPLATE}")));
    }
    quiet();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let (send, receive) = sync_channel(1);
    let template = template.to_owned();
    let work = move || {
        let rendered = rewrite(&template).and_then(|source| {
            let environment = environment(now, &stopped);
            environment.render_str(&source, names).map_err(|error| why(&error))
        });
        // Nobody waits any more where it took too long.
        let _ = send.send(rendered);
    };
    let thread = thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK);
    let thread = thread.spawn(work)?;
    let begun = Instant::now();
    loop {
        match receive.recv_timeout(PAUSE) {
            Ok(rendered) => return rendered.map_err(refused),
            Err(RecvTimeoutError::Disconnected) => {
                let said = thread.join().err().and_then(|panic| said(&*panic));
                let said = said.unwrap_or_else(|| "no reason".to_owned());
                return Err(refused(format!("the template engine failed: {said}")));
            }
            Err(RecvTimeoutError::Timeout) if interrupt::requested() => {
                stop.store(true, Ordering::Relaxed);
                bail!(Interrupted);
            }
            Err(RecvTimeoutError::Timeout) if begun.elapsed() > LONGEST => {
                stop.store(true, Ordering::Relaxed);
                return Err(refused(format!("it takes more than {} s", LONGEST.as_secs())));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn why(error: &minijinja::Error) -> String {
    let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    let said = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    format!("{said}{line}")
}

fn said(panic: &(dyn std::any::Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

/// What goes wrong in a template is told by [`render`], and by nobody else.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() != Some(THREAD) {
                before(info);
            }
        }));
    });
}
