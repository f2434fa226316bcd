//! `ripple inspect`: what an image holds, and whether it is whole.

use super::source::open_image;
use super::summary::{bytes, table};
use crate::import::chat_template::of_image_bytes;
use crate::machine::{header, numbers};
use crate::pack::sign;
use crate::process::failure::bad_input;
use crate::process::output::{self, note};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use ripple_hal::{BLOCK_BYTES, BlockCount};
use ripple_kernel::config::{Order, Variant};
use ripple_kernel::image::Crc32;
use ripple_kernel::image::{Bundle, Header, Image, Lossy, Predictor, SectionKind};
use ripple_kernel::{MemoryPlan, Options};
use serde::Serialize;
use std::fs;
use std::path::PathBuf;

/// Show what an image holds, and check its checksums and its numbers.
#[derive(Args)]
#[command(after_help = "Example:\n  ripple inspect my.image")]
pub struct Inspect {
    /// Image, as `ripple pack` writes it.
    image: PathBuf,
    /// Public key, 32 bytes: compare every block with what it has signed.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    image: String,
    bytes: u64,
    file_bytes: u64,
    /// Whether it carries a signature; by whom, `--public-key` asks.
    signed: bool,
    model: Shape,
    sections: Vec<Section>,
    layers: Vec<Layer>,
    /// At the full context, without a neuron cache.
    minimum_memory: Vec<Memory>,
}

#[derive(Serialize)]
struct Shape {
    dim: u32,
    layers: u32,
    neurons: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    context: u32,
    norm: String,
    norm_eps: f32,
    position: String,
    ffn: String,
    activation: String,
    threshold: f32,
    /// What its layers have that Llama's and OPT's have not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variant: Vec<String>,
    /// What is lost by leaving neurons out; nothing where they add nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    lossy: Option<Loss>,
    tied_head: bool,
    bundle: String,
    bundle_bytes: u32,
    predictor: String,
}

/// As measured when the model was imported; perplexities are 0 where they were not.
#[derive(Serialize)]
struct Loss {
    activity: f32,
    dense_perplexity: f32,
    perplexity: f32,
    /// Activations further from 0 than this are active, by layer.
    thresholds: Vec<f32>,
}

#[derive(Serialize)]
struct Section {
    name: &'static str,
    first_block: u32,
    blocks: u32,
    parts: u32,
    records: u32,
    record_bytes: u32,
    /// The number format of its rows; nothing where there are none.
    numbers: &'static str,
    check: Check,
}

/// What the checksum of a section says.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    Ok,
    Wrong,
    /// The file ends before the section does.
    CutOff,
}

#[derive(Serialize)]
struct Layer {
    layer: u32,
    hot: u32,
    /// Mean active neurons a token on the profiling text; 0 where the packer was not told.
    active: u32,
}

#[derive(Serialize)]
struct Memory {
    region: &'static str,
    bytes: usize,
}

impl Inspect {
    pub fn run(&self) -> Result<()> {
        let name = self.image.display();
        let image = open_image(&self.image)?;
        let header = header(&image).with_context(|| name.to_string())?;
        let report = inspect(name.to_string(), &image, &header);
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&print(&report))?;
        }
        whole(&name.to_string(), &report).map_err(bad_input)?;
        if let Some(path) = &self.public_key {
            let shown = path.display();
            let key = fs::read(path).with_context(|| format!("{shown}"))?;
            let key = <[u8; 32]>::try_from(&key[..]).map_err(|_| {
                bad_input(anyhow!(
                    "{shown}: expected the 32 bytes of a public key, as `ripple sign --public` writes them, found {}",
                    key.len()
                ))
            });
            let counter = sign::check(&image, &header, &key?);
            let counter = counter.with_context(|| name.to_string()).map_err(bad_input)?;
            note(&format!("{name}: signed by {shown}, update {counter}"));
        }
        numbers::check(&header, &image, &SectionKind::ALL).with_context(|| name.to_string())
    }
}

/// Whether the image is whole and undamaged.
fn whole(name: &str, report: &Report) -> Result<()> {
    let bad: Vec<_> = report
        .sections
        .iter()
        .filter(|section| section.check == Check::Wrong)
        .map(|section| section.name)
        .collect();
    ensure!(
        report.file_bytes >= report.bytes,
        "{name}: expected {} bytes, found {}: the image is cut short; copy it again",
        report.bytes,
        report.file_bytes
    );
    ensure!(
        bad.is_empty(),
        "{name}: wrong checksum in section `{}`: the image is damaged; copy it again",
        bad.join("`, `")
    );
    Ok(())
}

/// Compares a section with its checksum.
pub fn check(image: &[u8], header: &Header, kind: SectionKind) -> Check {
    let section = header.section(kind);
    let start = section.start.0 as usize * BLOCK_BYTES;
    let bytes = section.part.0 as usize * header.parts(kind) as usize * BLOCK_BYTES;
    let Some(bytes) = image.get(start..start + bytes) else { return Check::CutOff };
    let mut crc = Crc32::new();
    crc.update(bytes);
    if crc.finish() == section.crc { Check::Ok } else { Check::Wrong }
}

fn inspect(name: String, image: &[u8], header: &Header) -> Report {
    let geometry = &header.geometry;
    let c = &geometry.config;
    let chat = Header::chat(image).map(|chat| Section {
        name: "chat template",
        first_block: chat.start.0,
        blocks: BlockCount::for_bytes(chat.bytes.into()).0,
        parts: 1,
        records: 0,
        record_bytes: 0,
        numbers: "",
        check: match of_image_bytes(image) {
            Ok(_) => Check::Ok,
            Err(_) if (image.len() as u64) < header.blocks.bytes() => Check::CutOff,
            Err(_) => Check::Wrong,
        },
    });
    let sections = SectionKind::ALL.into_iter().map(|kind| {
        let section = header.section(kind);
        let parts = header.parts(kind);
        let (records, layout) = geometry.table(kind).unzip();
        Section {
            name: kind.name(),
            first_block: section.start.0,
            blocks: section.part.0 * parts,
            parts,
            records: records.unwrap_or(0),
            record_bytes: layout.map_or(0, |layout| layout.stride()),
            numbers: layout.map_or("", |layout| layout.quant.name()),
            check: check(image, header, kind),
        }
    });
    let plan = MemoryPlan::for_model(geometry, &Options { context: c.context, ..Options::DEFAULT });
    Report {
        image: name,
        bytes: header.blocks.bytes(),
        file_bytes: image.len() as u64,
        signed: sign::is_signed(image, header),
        model: Shape {
            dim: c.dim,
            layers: c.layers,
            neurons: c.neurons,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            vocab: c.vocab,
            context: c.context,
            norm: c.norm.name().to_owned(),
            norm_eps: c.norm_eps,
            position: c.position.name().to_owned(),
            ffn: c.ffn.name().to_owned(),
            activation: c.activation.name().to_owned(),
            threshold: c.threshold,
            variant: variant(&c.variant),
            lossy: c.activation.lossy().then(|| loss(image, header)),
            tied_head: c.tied_head,
            bundle: (if geometry.bundle == Bundle::whole(c.ffn) { "full" } else { "rest" })
                .to_owned(),
            bundle_bytes: geometry.bundle_layout().stride(),
            predictor: match geometry.predictor {
                Predictor::Exact => "exact".to_owned(),
                Predictor::Signs { planes } => format!("signs x {planes}"),
                Predictor::LowRank { rank } => format!("low rank, {rank}"),
                other => format!("{other:?}"),
            },
        },
        sections: sections.chain(chat).collect(),
        layers: (0..c.layers)
            .map(|layer| {
                let info = Header::layer_info(image, layer);
                Layer { layer, hot: info.hot, active: info.active }
            })
            .collect(),
        minimum_memory: ripple_kernel::Region::ALL
            .map(|region| Memory { region: region.name(), bytes: plan.region_bytes(region) })
            .into(),
    }
}

fn loss(image: &[u8], header: &Header) -> Loss {
    let Lossy { activity, dense, sparse } = Header::lossy(image);
    let view = Image::new(*header, image);
    let threshold = |layer| {
        let record = view.table(SectionKind::LayerVectors, layer).mapped(0);
        let last = record.and_then(|record| record.words(0).last().copied());
        last.map_or(f32::NAN, f32::from_le_bytes)
    };
    let thresholds = (0..header.geometry.config.layers).map(threshold).collect();
    Loss { activity, dense_perplexity: dense, perplexity: sparse, thresholds }
}

fn print(report: &Report) -> String {
    let m = &report.model;
    let file = match report.file_bytes.checked_sub(report.bytes) {
        Some(0) => String::new(),
        Some(more) => format!(", and {more} bytes after it"),
        None => format!(", cut off after {}", bytes(report.file_bytes as f64)),
    };
    let size = bytes(report.bytes as f64);
    let signed = if report.signed { ", signed" } else { "" };
    let mut out = format!("{}: an image of {size}{signed}{file}\n", report.image);
    let bundle = match m.bundle.as_str() {
        "rest" => "without the first row, which the predictor holds",
        _ => "all rows",
    };
    let head = if m.tied_head { "the embedding" } else { "a table of its own" };
    for (name, value) in [
        ("shape", format!("{} layers, dim {}, context {}", m.layers, m.dim, m.context)),
        ("heads", format!("{} of {}, {} for keys and values", m.heads, m.head_dim, m.kv_heads)),
        ("norm", format!("{}, eps {:e}; position {}", m.norm, m.norm_eps, m.position)),
        (
            "ffn",
            format!("{}, {}, {} neurons a layer, {}", m.ffn, m.activation, m.neurons, active(m)),
        ),
        ("bundle", format!("{} bytes, {bundle}", m.bundle_bytes)),
        ("predictor", m.predictor.clone()),
        ("vocab", format!("{}; the head is {head}", m.vocab)),
    ] {
        out += &format!("  {name:<10} {value}\n");
    }
    if !m.variant.is_empty() {
        out += &format!("  {:<10} {}\n", "variant", m.variant.join(", "));
    }
    if let Some(loss) = &m.lossy {
        out += &format!("  {:<10} {}\n", "lossy", cost(loss));
    }
    let count = |n: u32| if n == 0 { "-".to_owned() } else { n.to_string() };
    let present = report.sections.iter().filter(|section| section.blocks > 0);
    let rows = present.map(|s| {
        vec![
            s.name.to_owned(),
            s.first_block.to_string(),
            s.blocks.to_string(),
            s.parts.to_string(),
            count(s.records),
            count(s.record_bytes),
            if s.numbers.is_empty() { "-" } else { s.numbers }.to_owned(),
            match s.check {
                Check::Ok => "ok",
                Check::Wrong => "WRONG",
                Check::CutOff => "CUT OFF",
            }
            .to_owned(),
        ]
    });
    let header =
        ["section", "first block", "blocks", "parts", "records", "bytes each", "numbers", "CRC"];
    out += &format!("\n{}", table(&header, rows.collect()));
    let rows = report
        .layers
        .iter()
        .map(|layer| vec![layer.layer.to_string(), layer.hot.to_string(), count(layer.active)]);
    out += &format!("\n{}", table(&["layer", "hot prefix", "active a token"], rows.collect()));
    out += "\nRAM at the full context, without a neuron cache:\n";
    for memory in &report.minimum_memory {
        out += &format!("  {:<8} {:>10}\n", memory.region, bytes(memory.bytes as f64));
    }
    out
}

/// What layers have that Llama's and OPT's have not, in words.
fn variant(variant: &Variant) -> Vec<String> {
    let Variant { order, head_norm, sub_norm, attention_cap, logit_cap } = *variant;
    let order = match order {
        Order::Before => None,
        Order::After => Some("norms after the sums"),
        Order::Around => Some("norms before and behind each branch"),
        Order::Parallel => Some("attention and FFN side by side"),
        _ => Some("layers in an order that is not known here"),
    };
    let flags = [(head_norm, "norms of heads"), (sub_norm, "norms of what goes to the outputs")];
    let flags = flags.into_iter().filter_map(|(has, what)| has.then_some(what));
    let caps = [("attention", attention_cap), ("logits", logit_cap)];
    let caps = caps.into_iter().filter(|(_, cap)| *cap > 0.0);
    let caps = caps.map(|(what, cap)| format!("{what} capped at {cap}"));
    order.into_iter().chain(flags).map(str::to_owned).chain(caps).collect()
}

/// When a neuron is active.
fn active(m: &Shape) -> String {
    match &m.lossy {
        None => format!("active above {}", m.threshold),
        Some(_) => "active beyond their layer's threshold".to_owned(),
    }
}

/// What is left out, and what that costs.
fn cost(loss: &Loss) -> String {
    let kept = format!("{} % of the neurons are active", 100.0 * loss.activity);
    if loss.dense_perplexity > 0.0 {
        let (dense, sparse) = (loss.dense_perplexity, loss.perplexity);
        let more = 100.0 * (sparse / dense - 1.0);
        format!("{kept}: perplexity {sparse:.3}, with all {dense:.3} ({more:+.2} %)")
    } else if loss.activity >= 1.0 {
        format!("{kept}: nothing is")
    } else {
        format!("{kept}: not measured")
    }
}
