//! `ripple run`: generates text from an image on a simulated card.

use super::args::MachineArgs;
use super::import::CheckpointArgs;
use super::interactive::Conversation;
use super::made::made;
use super::request::RequestArgs;
use super::source::{Source, open_shape};
use super::summary::{Host, Phases, summary};
use crate::import::chat_template;
use crate::machine::adapter::Saved;
use crate::machine::{ImageBytes, Machine, header};
use crate::model::tokenizer::open;
use crate::process::failure::{Interrupted, bad_input, ensure_usage};
use crate::process::interrupt;
use crate::process::output;
use crate::run::chat::Chat;
use crate::run::generate::{End, Generated, Overflow, Request, generate};
use crate::run::report::{Report, report};
use crate::run::session::identity;
use anyhow::{Context, Result, bail};
use clap::Args;
use ripple_kernel::Position;
use ripple_kernel::image::{Header, Image};
use ripple_kernel::text::tokenizer::Tokenizer;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  ripple run my.image --prompt 'Once upon a time' --stop 'The end' --kv q8
  ripple run my.image --prompt 'Once' -n 2000 --context 256 --overflow window --sinks 4
  ripple run my.image --prompt 'Once' -n 2000 --kv-spill 128
  ripple run my.image --adapter notes.lora --prompt 'Dear diary'
  ripple run my.image --interactive
  ripple run my.image --chat --system 'Be brief.' --interactive";

/// Generate text from an image on a simulated card.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// Image, as `ripple make` or `ripple pack` writes it; or a model, or the name of a demo model, whose
    /// image is then made for this run.
    image: PathBuf,
    /// Text that a model's neurons are placed by; without it, profile.txt beside the model, and without that
    /// they lie as in the checkpoint. An image is placed already.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print the report as JSON on standard output (the text then goes to standard error).
    #[arg(long)]
    json: bool,
    /// Read lines from standard input and go on with the same text, turn by turn; /help there. The
    /// prompt is the first of them.
    #[arg(short, long, conflicts_with = "json")]
    interactive: bool,
    /// Do not keep the lines that are typed for later sessions; a line that begins with a space never is.
    #[arg(long, requires = "interactive")]
    no_history: bool,
    /// Keep no more than this many positions of the KV cache in memory: older ones go to the card, behind
    /// the image. The text is the same.
    #[arg(long, value_name = "POSITIONS", value_parser = clap::value_parser!(u32).range(1..))]
    kv_spill: Option<u32>,
    /// Adapter of this image, as `ripple tune` writes it.
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Make a chat of the prompt, or of the lines, with the chat template of the image.
    #[arg(long)]
    chat: bool,
    /// Another chat template: a Jinja file, a tokenizer_config.json, or a model in any form.
    #[arg(long, value_name = "PATH", requires = "chat")]
    template: Option<PathBuf>,
    /// What a chat's system message says.
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    system: Option<String>,
}

impl Run {
    pub fn run(&self) -> Result<()> {
        interrupt::listen();
        ensure_usage!(
            !(self.interactive && self.request.prompt.as_deref() == Some("-")),
            "--prompt -: it takes all of standard input, where --interactive reads lines; expected one of them"
        );
        let name = self.image.display();
        let image = self.image()?;
        let header = header(&image).with_context(|| name.to_string())?;
        let mut machine = self.machine.machine(&header)?;
        let mut request = self.request.request(self.request.text(!self.interactive)?)?;
        if let Some(kept) = self.kv_spill {
            ensure_usage!(
                request.overflow == Overflow::Stop,
                "--kv-spill and --overflow window: expected one of them"
            );
            let options = &mut machine.options;
            let unit = options.spill_unit(&header.geometry.config);
            ensure_usage!(
                kept >= unit,
                "--kv-spill {kept}: expected at least {unit}, the positions whose keys fill whole blocks"
            );
            options.spill = options.context.saturating_sub(kept);
            options.context -= options.spill;
            request.overflow = Overflow::Spill;
        }
        check_window(&request, &machine, &header)?;
        let adapter = self.adapter.as_deref().map(|path| Saved::read(path, &header)).transpose()?;
        let mut chat = self.chat(&header, &image).with_context(|| name.to_string())?;
        if self.interactive {
            return self.converse(&image, &machine, request, chat, adapter.as_ref());
        }
        if let Some(chat) = &mut chat {
            request.chat = Some(chat.ask(&request.prompt)?);
        }
        let outcome =
            stream(&image, &machine, &request, adapter.as_ref(), Stream::beside(self.json))
                .with_context(|| name.to_string())?;
        outcome.print(&name.to_string(), &machine, self.json)
    }
}

impl Run {
    /// The image, mapped, or made of a model.
    fn image(&self) -> Result<ImageBytes> {
        match open_shape(&self.image, &self.checkpoint.options(self.machine.context))? {
            Source::Image(image) => {
                ensure_usage!(
                    self.text.is_none(),
                    "--text: {} is placed already",
                    self.image.display()
                );
                Ok(image)
            }
            Source::Model(found) => made(*found, self.text.as_deref(), &self.machine),
        }
    }

    fn chat(&self, header: &Header, image: &[u8]) -> Result<Option<Chat>> {
        if !self.chat {
            return Ok(None);
        }
        let own = chat_template::of_image_bytes(image)?;
        let mut template = match (&self.template, &own) {
            (Some(path), _) => chat_template::read(path).map_err(bad_input)?,
            (None, Some(own)) => own.clone(),
            (None, None) => bail!(
                "--chat: there is no chat template in the image; expected --template PATH, with a Jinja \
                 file, a tokenizer_config.json, or the model that the image was made of"
            ),
        };
        if template.tokens.is_empty() {
            // Nothing was said of tokens where the template is from.
            template.tokens = match own {
                Some(own) if !own.tokens.is_empty() => own.tokens,
                _ => self.tokens(header, image)?,
            };
        }
        Ok(Some(Chat::new(template, self.system.as_deref(), &tokenizer(header, image)?)))
    }

    /// The texts of the tokens that an image says begin and end a text.
    fn tokens(&self, header: &Header, image: &[u8]) -> Result<BTreeMap<String, String>> {
        let tokenizer = tokenizer(header, image)?;
        let text = |token: u32| {
            String::from_utf8_lossy(tokenizer.bytes(token).unwrap_or(&[])).into_owned()
        };
        let named = [("bos_token", tokenizer.bos()), ("eos_token", tokenizer.eos())];
        let there =
            named.into_iter().filter_map(|(name, token)| Some((name.to_owned(), text(token?))));
        Ok(there.collect())
    }

    fn converse(
        &self,
        image: &ImageBytes,
        machine: &Machine,
        request: Request,
        chat: Option<Chat>,
        adapter: Option<&Saved>,
    ) -> Result<()> {
        let header = header(image)?;
        let memory = machine.memory(image, &header)?;
        let mut memory = memory.with_adapter(adapter, machine.options.batch);
        let decoder = machine.open(image, &mut memory)?;
        let tokenizer = tokenizer(&header, image)?;
        let (kv, image) = (machine.options.kv, identity(image));
        let text = Vec::new();
        let keeps_lines = !self.no_history;
        Conversation { decoder, tokenizer, text, request, kv, image, chat, keeps_lines }.run()
    }
}

/// Refuses a window that cannot slide, before it is full.
fn check_window(request: &Request, machine: &Machine, header: &Header) -> Result<()> {
    let Overflow::Window { sinks } = request.overflow else { return Ok(()) };
    let context = machine.options.context;
    ensure_usage!(
        header.geometry.config.position != Position::Learned,
        "--overflow window: the positions of this model are learned, a window cannot slide over \
         them; use --overflow stop"
    );
    ensure_usage!(
        sinks < context,
        "--sinks {sinks}: expected fewer than the {context} positions of the context"
    );
    Ok(())
}

/// The tokenizer of an image; read in place where it is mapped, and the host can always map it.
fn tokenizer<'m>(header: &Header, image: &'m [u8]) -> Result<Tokenizer<'m>> {
    let image = Image::new(*header, image);
    let section = image.tokenizer().context("the image has no tokenizer section")?;
    open(section)
}

/// What came of a run.
pub struct Outcome {
    generated: Generated,
    text: String,
    /// What was read and computed for it.
    pub report: Report,
    prompt_bytes: u64,
    host: Host,
}

/// Where generated text goes as it comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error: standard output holds something else.
    Error,
    /// Nowhere.
    Nothing,
}

impl Stream {
    /// For a report that is JSON, or is not.
    pub const fn beside(json: bool) -> Self {
        if json { Self::Error } else { Self::Output }
    }

    fn print(self, piece: &str) -> Result<()> {
        match self {
            Self::Output => output::print(piece),
            Self::Error => {
                let _ = std::io::stderr().write_all(piece.as_bytes());
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }
}

impl Outcome {
    fn phases(&self) -> Phases {
        let (generated, report) = (&self.generated, &self.report);
        let prompt = generated.prompt.len().max(1) as f64;
        let all = report.bytes_per_token * report.tokens as f64;
        let decoded = report.tokens as f64 - prompt;
        Phases {
            prompt_bytes_per_token: self.prompt_bytes as f64 / prompt,
            decode_bytes_per_token: (all - self.prompt_bytes as f64) / decoded.max(1.0),
            tokens_per_pass: decoded / f64::from(generated.passes.max(1)),
            drafted: generated.drafted,
            accepted: generated.accepted,
        }
    }
}

/// A run as JSON; every time in it is simulated, but for `host`.
#[derive(Serialize)]
struct Json<'a> {
    image: &'a str,
    text: &'a str,
    prompt_tokens: usize,
    generated_tokens: usize,
    end: End,
    phases: Phases,
    host: Host,
    simulated: &'a Report,
}

impl Outcome {
    /// Prints the report, after the text or, with `json`, with it.
    pub fn print(&self, image: &str, machine: &Machine, json: bool) -> Result<()> {
        if !json {
            let text = summary(&self.report, machine, &self.generated, &self.phases(), &self.host);
            output::print(&format!("\n{text}"))?;
            return self.whole();
        }
        output::print_json(&Json {
            image,
            text: &self.text,
            prompt_tokens: self.generated.prompt.len(),
            generated_tokens: self.generated.tokens.len(),
            end: self.generated.end,
            phases: self.phases(),
            host: self.host,
            simulated: &self.report,
        })?;
        self.whole()
    }

    /// An error where the user stopped the run.
    fn whole(&self) -> Result<()> {
        if self.generated.end == End::Interrupted { Err(Interrupted.into()) } else { Ok(()) }
    }
}

/// Generates text, printing it token by token, and reports.
pub fn stream(
    image: &ImageBytes,
    machine: &Machine,
    request: &Request,
    adapter: Option<&Saved>,
    to: Stream,
) -> Result<Outcome> {
    let header = header(image)?;
    let memory = machine.memory(image, &header)?;
    let mut memory = memory.with_adapter(adapter, machine.options.batch);
    let mut decoder = machine.open(image, &mut memory)?;
    let tokenizer = tokenizer(&header, image)?;
    decoder.probe_mut().reset();
    decoder.device_mut().take_stats();
    let terminal = to != Stream::Nothing && std::io::stderr().is_terminal();
    let mut text = String::new();
    let mut printed = Ok(());
    let mut prompt_bytes = 0;
    let begun = Instant::now();
    let mut prompt_seconds = 0.0;
    let generated = generate(
        &mut decoder,
        &tokenizer,
        request,
        |piece| {
            text.push_str(piece);
            if printed.is_ok() {
                printed = to.print(piece);
            }
        },
        |decoder, done, all| {
            prompt_bytes = decoder.device_mut().stats().bytes();
            prompt_seconds = begun.elapsed().as_secs_f64();
            if terminal && all > 16 {
                let end = if done == all { "\r\x1b[K" } else { "" };
                let _ = write!(std::io::stderr(), "\rprompt {done}/{all}{end}");
            }
        },
    );
    // An error starts a line of its own.
    if !text.is_empty() {
        to.print("\n")?;
    }
    printed?;
    let generated = generated?;
    let seconds = begun.elapsed().as_secs_f64() - prompt_seconds;
    let tokens_per_second = match generated.tokens.len() {
        0 => 0.0,
        tokens => tokens as f64 / seconds,
    };
    let host = Host { prompt_seconds, seconds, tokens_per_second };
    let report = report(&mut decoder, machine, image, generated.fed())?;
    Ok(Outcome { generated, text, report, prompt_bytes, host })
}
