//! `ripple run`: generates text from an image on a simulated card, or from a real device.

use super::args::MachineArgs;
use super::import::CheckpointArgs;
use super::interactive::Conversation;
use super::made::made;
use super::on_device::{self, DeviceArgs, Ready};
use super::request::RequestArgs;
use super::source::{Source, open_image, open_shape};
use super::summary::{Host, Phases, summary};
use super::tell::{Stream, Told, tell};
use crate::import::chat_template;
use crate::machine::adapter::Saved;
use crate::machine::meter::Counts;
use crate::machine::{ImageBytes, Machine, header};
use crate::model::chat::ChatTemplate;
use crate::model::tokenizer::open;
use crate::process::failure::{Interrupted, bad_input, ensure_usage};
use crate::process::interrupt;
use crate::process::output;
use crate::run::chat::Chat;
use crate::run::generate::{End, Generated, Overflow, Request};
use crate::run::measured::{Measured, Span};
use crate::run::report::{Report, report};
use crate::run::session::identity;
use anyhow::{Context, Result, bail};
use clap::Args;
use ripple_hal::WriteDevice;
use ripple_kernel::image::{Header, Image};
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, KvKind, Options, Position, Probe};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ripple run my.image --prompt 'Once upon a time' --stop 'The end' --kv q8
  ripple run my.image --prompt 'Once' -n 2000 --context 256 --overflow window --sinks 4
  ripple run my.image --prompt 'Once' -n 2000 --kv-spill 128
  ripple run my.image --adapter notes.lora --prompt 'Dear diary'
  ripple run my.image --interactive
  ripple run --device my.image --ram 64M --prompt 'Once'     measured on this machine, nothing simulated
  ripple run my.image --chat --system 'Be brief.' --interactive";

/// Generate text from an image on a simulated card, or with --device from a real one.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// Image, as `ripple make` or `ripple pack` writes it; or a model, or the name of a demo model, whose
    /// image is then made for this run.
    #[arg(required_unless_present = "device")]
    image: Option<PathBuf>,
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
    #[command(flatten)]
    device: DeviceArgs,
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
    #[arg(long, value_name = "POSITIONS", conflicts_with = "device", value_parser = clap::value_parser!(u32).range(1..))]
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
        match (&self.image, &self.device.device) {
            (_, Some(device)) => self.measured(device),
            (Some(image), None) => self.simulated(image),
            (None, None) => unreachable!("clap asks for one of them"),
        }
    }

    fn simulated(&self, path: &Path) -> Result<()> {
        let name = path.display();
        let image = self.image(path)?;
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
        check_window(&request, &machine.options, &header)?;
        let adapter = self.adapter.as_deref().map(|path| Saved::read(path, &header)).transpose()?;
        let own = || chat_template::of_image_bytes(&image);
        // What is damaged is said before what of its words cannot be right.
        let words = || tokenizer(&header, &image);
        let mut chat = self.chat(words, own).with_context(|| name.to_string())?;
        if self.interactive {
            let memory = machine.memory(&image, &header)?;
            let mut memory = memory.with_adapter(adapter.as_ref(), machine.options.batch);
            let decoder = machine.open(&image, &mut memory)?;
            let kv = machine.options.kv;
            return self.converse(decoder, words()?, request, chat, kv, identity(&image));
        }
        if let Some(chat) = &mut chat {
            request.chat = Some(chat.ask(&request.prompt)?);
        }
        let outcome =
            stream(&image, &machine, &request, adapter.as_ref(), Stream::beside(self.json))
                .with_context(|| name.to_string())?;
        outcome.print(&name.to_string(), &machine, self.json)
    }

    fn measured(&self, path: &Path) -> Result<()> {
        let mut request = self.request.request(self.request.text(!self.interactive)?)?;
        ensure_usage!(
            !self.machine.no_stay_open,
            "--no-stay-open: a disk has a command for each read in any case; leave it away with --device"
        );
        let mut ready = Ready::new(path, &self.device, &self.machine, self.device.ram, None)?;
        let header = *ready.found.header();
        if let Some(image) = &self.image {
            let other = self::header(&open_image(image)?)?.crc;
            ensure_usage!(
                other == header.crc,
                "--device {}: it holds another image than {}; write that one to it with `ripple card`, or leave \
                 out one of them",
                path.display(),
                image.display()
            );
        }
        check_window(&request, &ready.options, &header)?;
        let adapter = self.adapter.as_deref().map(|path| Saved::read(path, &header)).transpose()?;
        let own = ready.chat_template();
        let memory = ready.memory();
        let mut memory = memory.with_adapter(adapter.as_ref(), ready.options.batch);
        let Ready { found, held, options, device } = ready;
        let words = open(held.tokenizer())?;
        let mut chat = self.chat(|| open(held.tokenizer()), || own)?;
        let image = identity(found.front());
        let traffic = found.traffic();
        let mut decoder = found.open(&held, &mut memory, &options)?;
        if self.interactive {
            return self.converse(decoder, words, request, chat, options.kv, image);
        }
        if let Some(chat) = &mut chat {
            request.chat = Some(chat.ask(&request.prompt)?);
        }
        *decoder.probe_mut() = Counts::default();
        let (begun, mut after) = (traffic.get(), traffic.get());
        let to = Stream::beside(self.json);
        let told = tell(&mut decoder, &words, &request, to, |_| after = traffic.get());
        let Told { generated, text, host } = told.with_context(|| path.display().to_string())?;
        let prompt = generated.prompt.len() as u64;
        let prompt = Span::new(prompt, host.prompt_seconds, after.since(begun));
        let new = generated.tokens.len() as u64;
        let generation = Span::new(new, host.seconds, traffic.get().since(after));
        let measured = Measured::new(&mut decoder, device, prompt, generation);
        if self.json {
            output::print_json(&MeasuredJson {
                text: &text,
                prompt_tokens: generated.prompt.len(),
                generated_tokens: generated.tokens.len(),
                end: generated.end,
                passes: generated.passes,
                drafted: generated.drafted,
                accepted: generated.accepted,
                measured: &measured,
            })?;
        } else {
            let summary = on_device::summary(&measured, &generated, options.batch);
            output::print(&format!("\n{summary}"))?;
        }
        if generated.end == End::Interrupted { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// The image, mapped, or made of a model.
    fn image(&self, path: &Path) -> Result<ImageBytes> {
        match open_shape(path, &self.checkpoint.options(self.machine.context))? {
            Source::Image(image) => {
                ensure_usage!(self.text.is_none(), "--text: {} is placed already", path.display());
                Ok(image)
            }
            Source::Model(found) => made(*found, self.text.as_deref(), &self.machine),
        }
    }

    /// The chat that was asked for; `own`: the image's template, if it has one.
    fn chat<'t>(
        &self,
        tokenizer: impl FnOnce() -> Result<Tokenizer<'t>>,
        own: impl FnOnce() -> Result<Option<ChatTemplate>>,
    ) -> Result<Option<Chat>> {
        if !self.chat {
            return Ok(None);
        }
        let (own, tokenizer) = (own()?, tokenizer()?);
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
                _ => tokens(&tokenizer),
            };
        }
        Ok(Some(Chat::new(template, self.system.as_deref(), &tokenizer)))
    }

    fn converse<'m, D: WriteDevice, P: Probe>(
        &self,
        decoder: Decoder<'m, D, P>,
        tokenizer: Tokenizer<'m>,
        request: Request,
        chat: Option<Chat>,
        kv: KvKind,
        image: u32,
    ) -> Result<()> {
        let text = Vec::new();
        let keeps_lines = !self.no_history;
        Conversation { decoder, tokenizer, text, request, kv, image, chat, keeps_lines }.run()
    }
}

/// The texts of the tokens that an image says begin and end a text.
fn tokens(tokenizer: &Tokenizer<'_>) -> BTreeMap<String, String> {
    let text =
        |token: u32| String::from_utf8_lossy(tokenizer.bytes(token).unwrap_or(&[])).into_owned();
    let named = [("bos_token", tokenizer.bos()), ("eos_token", tokenizer.eos())];
    named.into_iter().filter_map(|(name, token)| Some((name.to_owned(), text(token?)))).collect()
}

/// Refuses a window that cannot slide, before it is full.
fn check_window(request: &Request, options: &Options, header: &Header) -> Result<()> {
    let Overflow::Window { sinks } = request.overflow else { return Ok(()) };
    let context = options.context;
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

/// A run on a real device as JSON; nothing in it is simulated.
#[derive(Serialize)]
struct MeasuredJson<'a> {
    text: &'a str,
    prompt_tokens: usize,
    generated_tokens: usize,
    end: End,
    passes: u32,
    drafted: u32,
    accepted: u32,
    measured: &'a Measured,
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
    let mut prompt_bytes = 0;
    let told = tell(&mut decoder, &tokenizer, request, to, |decoder| {
        prompt_bytes = decoder.device_mut().stats().bytes();
    });
    let Told { generated, text, host } = told?;
    let report = report(&mut decoder, machine, image, generated.fed())?;
    Ok(Outcome { generated, text, report, prompt_bytes, host })
}
