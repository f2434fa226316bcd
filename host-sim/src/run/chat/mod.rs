//! Chat templates: a conversation as the text that a model was trained on.
//!
//! In: a Jinja template as checkpoints have it, messages. Out: one string, the one that `transformers`
//! makes of them, or its tokens.

mod environment;
mod expression;
mod methods;
mod plain;
mod python;
mod render;
mod source;
mod tuple;

use crate::model::chat::ChatTemplate;
use anyhow::Result;
use minijinja::Value;
use ripple_kernel::text::tokenizer::Tokenizer;
use serde::Serialize;
use std::collections::BTreeMap;

pub use plain::Rendered;

pub use jiff::civil::DateTime;

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

/// Renders `messages`; `add_generation_prompt`: whether the beginning of the assistant's next message
/// follows.
///
/// # Errors
/// When the template is not one, refuses the messages, takes too much time or room, or is interrupted.
pub fn render(
    chat: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<String> {
    let mut names = BTreeMap::from([("messages", Value::from_serialize(messages))]);
    names.insert("add_generation_prompt", add_generation_prompt.into());
    render_with(chat, names, jiff::ZonedDateTime::now().datetime())
}

/// Renders with all that `apply_chat_template` may be given, by its names, at the time `now`.
///
/// # Errors
/// As [`render`].
pub fn render_with(
    chat: &ChatTemplate,
    names: BTreeMap<&str, Value>,
    now: DateTime,
) -> Result<String> {
    // None unless they are given.
    let absent = ["tools", "documents"].map(|name| (name, Value::from(())));
    let tokens = chat.tokens.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
    let all: BTreeMap<&str, Value> = absent.into_iter().chain(tokens).chain(names).collect();
    render::render(&chat.template, Value::from_serialize(&all), now)
}

/// A conversation, with the template that it is rendered with.
#[derive(Clone, Debug)]
pub struct Chat {
    template: ChatTemplate,
    messages: Vec<Message>,
    /// Of these, the ones that are there from the beginning.
    first: usize,
    /// The texts of special tokens.
    special: Vec<String>,
}

/// The texts of the special tokens of a tokenizer, but for those of one character.
fn special(tokenizer: &Tokenizer<'_>) -> Vec<String> {
    let ids = (0..tokenizer.tokens()).filter(|&id| tokenizer.is_special(id));
    let texts = ids.filter_map(|id| std::str::from_utf8(tokenizer.bytes(id)?).ok());
    texts.filter(|text| text.chars().count() > 1).map(str::to_owned).collect()
}

impl Chat {
    /// One with nothing in it but what the system is told.
    pub fn new(template: ChatTemplate, system: Option<&str>, tokenizer: &Tokenizer<'_>) -> Self {
        let messages: Vec<_> =
            system.map(|text| Message::new("system", text)).into_iter().collect();
        Self { template, first: messages.len(), messages, special: special(tokenizer) }
    }

    /// Adds a message of the user and renders all of them, up to where the assistant's next begins.
    ///
    /// # Errors
    /// As [`render`]; the message has been added.
    pub fn ask(&mut self, text: &str) -> Result<Rendered> {
        self.messages.push(Message::new("user", text));
        let (messages, mark) = plain::marked(&self.messages, &self.special);
        render(&self.template, &messages, true).map(|text| Rendered::new(text, mark))
    }

    /// Adds what the assistant said.
    pub fn answered(&mut self, text: String) {
        self.messages.push(Message::new("assistant", text));
    }

    /// Adds to what the assistant said last.
    pub fn went_on(&mut self, text: &str) {
        if let Some(message) = self.messages.last_mut() {
            message.content.push_str(text);
        }
    }

    /// Whether the assistant has said something.
    pub fn has_answer(&self) -> bool {
        self.messages.last().is_some_and(|message| message.role == "assistant")
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
