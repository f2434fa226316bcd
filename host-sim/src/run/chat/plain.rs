//! What messages say stays text, though it may spell special tokens: those are the template's alone.
//!
//! In: messages, the texts of special tokens. Out: messages in which a mark breaks those texts; and, of what a
//! template made of them, tokens. Knows nothing of templates.

use super::Message;
use crate::model::text::encode;
use anyhow::Result;
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};

/// A rendered conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// The character that breaks what is no special token.
    mark: Option<char>,
}

impl Rendered {
    pub(super) const fn new(text: String, mark: Option<char>) -> Self {
        Self { text, mark }
    }

    /// The text that `apply_chat_template` makes.
    pub fn text(&self) -> String {
        self.plain(&self.text)
    }

    /// Its tokens: special ones where the template names them, letters where a message does.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn tokens(&self, tokenizer: &Tokenizer<'_>) -> Result<Vec<u32>> {
        let special = EncodeOptions { parse_special: true, ..EncodeOptions::default() };
        if self.mark.is_none_or(|mark| !self.text.contains(mark)) {
            return encode(tokenizer, &self.text(), special);
        }
        let text = |from: usize, to: usize| {
            // What follows an added token begins as the tokenizer has it.
            let continues = from > 0 && !tokenizer.adds_space_inside();
            let options = EncodeOptions { continues, ..EncodeOptions::default() };
            encode(tokenizer, &self.plain(&self.text[from..to]), options)
        };
        let (mut ids, mut done) = (Vec::new(), 0);
        while let Some(added) = tokenizer.first_added(&self.text, done, special) {
            ids.extend(text(done, added.start)?);
            // A space may stand in front of the token, which it takes in.
            ids.extend(encode(tokenizer, &self.text[added.clone()], special)?.pop());
            done = added.end;
        }
        ids.extend(text(done, self.text.len())?);
        Ok(ids)
    }

    /// `text` without the mark, or the way JSON has it.
    fn plain(&self, text: &str) -> String {
        match self.mark {
            None => text.to_owned(),
            Some(mark) => {
                text.replace(mark, "").replace(&format!("\\u{:04x}", u32::from(mark)), "")
            }
        }
    }
}

/// The messages with a mark behind the first character of what spells one of `special`, and the mark.
pub(super) fn marked(messages: &[Message], special: &[String]) -> (Vec<Message>, Option<char>) {
    let spelt = |text: &str| special.iter().any(|token| text.contains(token.as_str()));
    if !messages.iter().any(|message| spelt(&message.content)) {
        return (messages.to_vec(), None);
    }
    // Of the characters that stand for nothing, one that no message has.
    let unused = |mark: &char| !messages.iter().any(|message| message.content.contains(*mark));
    let Some(mark) = ('\u{fdd0}'..='\u{fdef}').find(unused) else {
        return (messages.to_vec(), None);
    };
    let broken = |text: &str| {
        let mut out = String::with_capacity(text.len() + 8);
        for (at, c) in text.char_indices() {
            out.push(c);
            if special.iter().any(|token| text[at..].starts_with(token.as_str())) {
                out.push(mark);
            }
        }
        out
    };
    let all = messages.iter().map(|message| Message::new(&message.role, broken(&message.content)));
    (all.collect(), Some(mark))
}
