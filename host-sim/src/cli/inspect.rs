//! `ripple inspect`: what an image holds, and whether it is whole.

use super::run::read_image;
use super::summary::{bytes, table};
use crate::failure::bad_input;
use crate::output;
use crate::simulate::header;
use anyhow::{Context, Result, ensure};
use clap::Args;
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::image::Crc32;
use ripple_kernel::image::{Header, Predictor, SectionKind};
use ripple_kernel::{MemoryPlan, Options};
use serde::Serialize;
use std::path::PathBuf;

/// Show what an image holds, and check its checksums.
#[derive(Args)]
#[command(after_help = "Example:\n  ripple inspect my.image")]
pub struct Inspect {
    /// Image, as `ripple pack` writes it.
    image: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    image: String,
    bytes: u64,
    file_bytes: u64,
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
    threshold: f32,
    tied_head: bool,
    bundle: String,
    bundle_bytes: u32,
    predictor: String,
}

#[derive(Serialize)]
struct Section {
    name: &'static str,
    first_block: u32,
    blocks: u32,
    parts: u32,
    records: u32,
    record_bytes: u32,
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
        let image = read_image(&self.image)?;
        let header = header(&image).with_context(|| name.to_string())?;
        let report = inspect(name.to_string(), &image, &header);
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&print(&report))?;
        }
        whole(&name.to_string(), &report).map_err(bad_input)
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
            check: check(image, header, kind),
        }
    });
    let plan = MemoryPlan::for_model(geometry, &Options { context: c.context, ..Options::DEFAULT });
    let lower = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    Report {
        image: name,
        bytes: header.blocks.bytes(),
        file_bytes: image.len() as u64,
        model: Shape {
            dim: c.dim,
            layers: c.layers,
            neurons: c.neurons,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            vocab: c.vocab,
            context: c.context,
            norm: lower(&c.norm),
            norm_eps: c.norm_eps,
            position: lower(&c.position),
            ffn: lower(&c.ffn),
            threshold: c.threshold,
            tied_head: c.tied_head,
            bundle: lower(&geometry.bundle),
            bundle_bytes: geometry.bundle_layout().stride(),
            predictor: match geometry.predictor {
                Predictor::Exact => "exact".to_owned(),
                Predictor::Signs { planes } => format!("signs x {planes}"),
            },
        },
        sections: sections.collect(),
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

fn print(report: &Report) -> String {
    let m = &report.model;
    let file = match report.file_bytes.checked_sub(report.bytes) {
        Some(0) => String::new(),
        Some(more) => format!(", and {more} bytes after it"),
        None => format!(", cut off after {}", bytes(report.file_bytes as f64)),
    };
    let size = bytes(report.bytes as f64);
    let mut out = format!("{}: an image of {size}{file}\n", report.image);
    let bundle = match m.bundle.as_str() {
        "rest" => "without the first row, which the predictor holds",
        _ => "all rows",
    };
    let head = if m.tied_head { "the embedding" } else { "a table of its own" };
    for (name, value) in [
        ("shape", format!("{} layers, dim {}, context {}", m.layers, m.dim, m.context)),
        ("heads", format!("{} of {}, {} for keys and values", m.heads, m.head_dim, m.kv_heads)),
        ("norm", format!("{}, eps {:e}; position {}", m.norm, m.norm_eps, m.position)),
        ("ffn", format!("{}, {} neurons a layer, active above {}", m.ffn, m.neurons, m.threshold)),
        ("bundle", format!("{} bytes, {bundle}", m.bundle_bytes)),
        ("predictor", m.predictor.clone()),
        ("vocab", format!("{}; the head is {head}", m.vocab)),
    ] {
        out += &format!("  {name:<10} {value}\n");
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
            match s.check {
                Check::Ok => "ok",
                Check::Wrong => "WRONG",
                Check::CutOff => "CUT OFF",
            }
            .to_owned(),
        ]
    });
    let header = ["section", "first block", "blocks", "parts", "records", "bytes each", "CRC"];
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
