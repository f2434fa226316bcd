//! Chat templates, wherever they are.
//!
//! In: a folder or a file of any kind. Out: the template with the tokens that it may name, or where it was
//! looked for. Reads no weights. Knows nothing of Jinja.

use super::gguf;
use super::gguf::file::Gguf;
use super::kind::Kind;
use super::{file, json};
use crate::model::chat::ChatTemplate;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::image::{ChatText, Crc32, Header};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Files of a folder that hold a template, the first before the others.
const FILES: [&str; 3] = ["chat_template.jinja", "chat_template.json", TOKENIZER_CONFIG];
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Files of a folder that say what its special tokens are.
const TOKEN_FILES: [&str; 2] = [TOKENIZER_CONFIG, "special_tokens_map.json"];
/// Objects of special tokens that a model has besides, by the names that its template has for them.
const MODEL_TOKENS: [&str; 2] = ["extra_special_tokens", "model_specific_special_tokens"];

/// Finds the template in `path`: a Jinja file, a `tokenizer_config.json` or `chat_template.json`, a folder
/// with one of these, a GGUF file, a model file, an image.
///
/// # Errors
/// When there is none.
pub fn read(path: &Path) -> Result<ChatTemplate> {
    let shown = path.display();
    let none = || anyhow!("{shown}: no chat template in it; give a Jinja file with --template");
    match Kind::of(path)? {
        Kind::Folder => of_directory(path, true)?.with_context(|| {
            format!("{shown}: no chat template in it; looked for {}", FILES.join(", "))
        }),
        Kind::Gguf => gguf::chat::template(&Gguf::open(path)?)?.ok_or_else(none),
        Kind::Model | Kind::Safetensors => file::chat_template(path)?.ok_or_else(none),
        Kind::Image => of_image(path)?.ok_or_else(none),
        Kind::Other | Kind::Empty | Kind::Stream => {
            let text = std::fs::read_to_string(path);
            let text =
                text.with_context(|| format!("{shown}: the chat template cannot be read"))?;
            match serde_json::from_str::<Value>(&text) {
                Ok(value @ Value::Object(_)) => {
                    let template = default(path, &value)?.ok_or_else(none)?;
                    check_names(path, &template, &value)?;
                    Ok(ChatTemplate { template, tokens: tokens(&value) })
                }
                Err(error) if path.extension().is_some_and(|extension| extension == "json") => {
                    Err(error).with_context(|| format!("{shown}: not JSON"))
                }
                _ => Ok(ChatTemplate { template: text, tokens: BTreeMap::new() }),
            }
        }
        kind => bail!("{shown}: expected a chat template, found {}", kind.words()),
    }
}

/// How a conversation is written down, if the directory says; `wanted`: whether several templates, none of
/// which is called `default`, are an error and not none.
pub(super) fn of_directory(directory: &Path, wanted: bool) -> Result<Option<ChatTemplate>> {
    for name in FILES {
        let path = directory.join(name);
        if !path.exists() {
            continue;
        }
        let template = if name.ends_with(".json") {
            match default(&path, &json::read(&path)?) {
                Err(_) if !wanted => None,
                found => found?,
            }
        } else {
            let read = std::fs::read_to_string(&path);
            Some(read.with_context(|| format!("{}: not readable", path.display()))?)
        };
        if let Some(template) = template {
            let tokens = tokens_of_directory(directory, &template)?;
            return Ok(Some(ChatTemplate { template, tokens }));
        }
    }
    Ok(None)
}

fn tokens_of_directory(directory: &Path, template: &str) -> Result<BTreeMap<String, String>> {
    for name in TOKEN_FILES {
        let path = directory.join(name);
        if path.exists() {
            let config = json::read(&path)?;
            check_names(&path, template, &config)?;
            let found = tokens(&config);
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    Ok(BTreeMap::new())
}

/// The template in a configuration: the one, or of several that called `default`.
fn default(path: &Path, config: &Value) -> Result<Option<String>> {
    let shown = path.display();
    match &config["chat_template"] {
        Value::Null => Ok(None),
        Value::String(template) => Ok(Some(template.clone())),
        Value::Array(named) => {
            let found = named.iter().find(|entry| entry["name"] == "default");
            let names: Vec<_> = named.iter().filter_map(|entry| entry["name"].as_str()).collect();
            let found = found.and_then(|entry| entry["template"].as_str());
            let template = found.with_context(|| {
                let names = names.join(", ");
                format!("{shown}: `chat_template` has {names}, expected one called default")
            })?;
            Ok(Some(template.to_owned()))
        }
        // An object by name, as some tools write it.
        Value::Object(named) => match named.get("default").and_then(Value::as_str) {
            Some(template) => Ok(Some(template.to_owned())),
            None => bail!("{shown}: `chat_template` is an object, expected `default` in it"),
        },
        other => bail!("{shown}: `chat_template` is {other}, expected a text or a list of them"),
    }
}

/// The special tokens of a configuration, texts or objects with a text: [`TOKENS`], and what a model has
/// besides, under names that end as theirs do or in an object of them.
fn tokens(config: &Value) -> BTreeMap<String, String> {
    let text =
        |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    let own = MODEL_TOKENS.iter().filter_map(|key| config[*key].as_object()).flatten();
    let named = config.as_object().into_iter().flatten();
    let named = named.filter(|(name, _)| name.ends_with("_token"));
    let all = own.chain(named);
    all.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// Refuses a template that names a list of tokens, which it is not given: it would be empty.
fn check_names(path: &Path, template: &str, config: &Value) -> Result<()> {
    for key in ["additional_special_tokens", "extra_special_tokens"] {
        let has = config[key].as_array().is_some_and(|list| !list.is_empty());
        let word = |at: usize| {
            let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            edge(template[..at].chars().next_back())
                && edge(template[at + key.len()..].chars().next())
        };
        ensure!(
            !has || !template.match_indices(key).any(|(at, _)| word(at)),
            "{}: the chat template names `{key}`, expected tokens by names of their own; write the tokens out \
             in the template",
            path.display()
        );
    }
    Ok(())
}

fn of_image(path: &Path) -> Result<Option<ChatTemplate>> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("{shown}: cannot be read"))?;
    let mut front = vec![0; 1024];
    file.read_exact(&mut front).with_context(|| format!("{shown}: cut short; copy it again"))?;
    let Some(chat) = Header::chat(&front) else { return Ok(None) };
    file.seek(SeekFrom::Start(u64::from(chat.start.0) * BLOCK_BYTES as u64))?;
    let mut bytes = Vec::new();
    file.take(chat.bytes.into()).read_to_end(&mut bytes)?;
    unpack(&bytes, chat.bytes, chat.crc).with_context(|| shown.to_string()).map(Some)
}

/// The chat template of the bytes of an image, if it has one.
///
/// # Errors
/// When it is damaged.
pub fn of_image_bytes(image: &[u8]) -> Result<Option<ChatTemplate>> {
    let Some(chat) = Header::chat(image) else { return Ok(None) };
    let start = chat.start.0 as usize * BLOCK_BYTES;
    let end = start.saturating_add(chat.bytes as usize).min(image.len());
    unpack(image.get(start..end).unwrap_or(&[]), chat.bytes, chat.crc).map(Some)
}

/// The same, of the `bytes` that an image has where its header says that `chat` is.
///
/// # Errors
/// When they are damaged.
pub fn of_chat_bytes(chat: &ChatText, bytes: &[u8]) -> Result<ChatTemplate> {
    unpack(bytes, chat.bytes, chat.crc)
}

fn unpack(bytes: &[u8], length: u32, expected: u32) -> Result<ChatTemplate> {
    let damaged = "the chat template in the image is damaged; copy the image again";
    ensure!(bytes.len() == length as usize, "{damaged}");
    let mut crc = Crc32::new();
    crc.update(bytes);
    ensure!(crc.finish() == expected, "{damaged}");
    serde_json::from_slice(bytes).context(damaged)
}
