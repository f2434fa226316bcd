//! Chat templates: a conversation as the text that a model was trained on.
//!
//! In: a Jinja template as checkpoints have it, messages. Out: one string. Knows nothing of tokens.
//! Rendered as `transformers` does: blocks trimmed, `raise_exception`, Python's string methods.

use crate::model::Model;
use anyhow::{Context, Result, anyhow, bail, ensure};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use std::path::Path;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What it says.
    pub content: String,
}

impl Message {
    /// What `role` says.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }
}

/// Renders `messages`. `bos`, `eos`: the text of the tokens that begin and end a text;
/// `add_generation_prompt`: whether the beginning of the assistant's next message follows.
///
/// # Errors
/// When the template is not one, or refuses the messages.
pub fn render(
    template: &str,
    messages: &[Message],
    bos: &str,
    eos: &str,
    add_generation_prompt: bool,
) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<(), _> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment
        .render_str(
            template,
            context! { messages, bos_token => bos, eos_token => eos, add_generation_prompt },
        )
        .map_err(|error| anyhow!("the chat template cannot be rendered: {error}"))
}

/// Reads a template: a Jinja file, a `tokenizer_config.json`, a folder with `chat_template.jinja` or one
/// of these, or a model (`.model`, `.gguf`) that came with one.
///
/// # Errors
/// When there is none.
pub fn read_template(path: &Path) -> Result<String> {
    if path.is_dir() {
        let files = ["chat_template.jinja", "tokenizer_config.json"].map(|name| path.join(name));
        let Some(file) = files.iter().find(|file| file.is_file()) else {
            bail!("{}: no chat_template.jinja and no tokenizer_config.json in it", path.display());
        };
        return read_template(file);
    }
    let name = || path.display().to_string();
    if path.extension().is_some_and(|extension| extension == "model" || extension == "gguf") {
        return Model::load(path)?.chat_template.with_context(|| {
            format!("{}: it has no chat template; give a Jinja file with --template", name())
        });
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: the chat template cannot be read", name()))?;
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(text);
    }
    let config: serde_json::Value = serde_json::from_str(&text).with_context(name)?;
    let found = match &config["chat_template"] {
        // Some checkpoints have several, by name.
        serde_json::Value::Array(named) => {
            named.iter().find(|t| t["name"] == "default").map_or("", |t| text_of(&t["template"]))
        }
        one => text_of(one),
    };
    ensure!(
        !found.is_empty(),
        "{}: no `chat_template` in it; give a Jinja file with --template",
        name()
    );
    Ok(found.to_owned())
}

fn text_of(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or("")
}

/// A conversation, with the template that it is rendered with.
#[derive(Clone, Debug)]
pub struct Chat {
    template: String,
    bos: String,
    eos: String,
    messages: Vec<Message>,
    /// Of these, the ones that are there from the beginning.
    first: usize,
}

impl Chat {
    /// One with nothing in it but what the system is told; `bos`, `eos` as in [`render`].
    pub fn new(template: String, system: Option<&str>, bos: String, eos: String) -> Self {
        let messages: Vec<_> =
            system.map(|text| Message::new("system", text)).into_iter().collect();
        Self { template, bos, eos, first: messages.len(), messages }
    }

    /// Adds a message of the user and renders all of them, up to where the assistant's next begins.
    ///
    /// # Errors
    /// As [`render`]; the message has been added.
    pub fn ask(&mut self, text: &str) -> Result<String> {
        self.messages.push(Message::new("user", text));
        render(&self.template, &self.messages, &self.bos, &self.eos, true)
    }

    /// Adds what the assistant said.
    pub fn answered(&mut self, text: String) {
        self.messages.push(Message::new("assistant", text));
    }

    /// Takes back the last message.
    pub fn withdraw(&mut self) {
        self.messages.pop();
    }

    /// Forgets the conversation.
    pub fn reset(&mut self) {
        self.messages.truncate(self.first);
    }
}
