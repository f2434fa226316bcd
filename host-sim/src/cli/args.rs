//! Arguments that several subcommands share.

use crate::cost::Preset;
use crate::machine::{Core, Machine, Mapped, calibrated_gap, staging};
use crate::placement::ReadCost;
use crate::process::failure::bad_usage;
use anyhow::{Result, anyhow};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use ripple_hal::{BLOCK_BYTES, BlockCount};
use ripple_kernel::image::{Geometry, Header, Quant, Quants, SectionKind};
use ripple_kernel::{
    KvKind, Options,
    memory::cache::{Admission, Eviction},
};

/// Room on the card that pages may take in a comparison of policies, in MiB: 3 % of a small card.
pub const PAGE_MIB: u32 = 1024;
/// Room that pages take where nobody says: so many times the model's FFN, or once for each [`PAYS`] tokens of the
/// profile if those are fewer, but [`LEAST_PAGES`] to [`MOST_PAGES`].
const PAGES_PER_FFN: u64 = 4;
/// Tokens of a profile that say enough to fill as much room as the FFN takes: of fewer, each is seen so seldom
/// that all get the same pages, those of the most frequent neurons.
const PAYS: u64 = 1024;
const LEAST_PAGES: u64 = 64 << 20;
const MOST_PAGES: u64 = 1 << 30;
/// The card that everything is placed for, and runs on, by default.
pub const CARD: &str = "uhs-sdr104";

/// As many MiB in blocks.
pub fn page_blocks(mib: u32) -> u64 {
    u64::from(mib) * ((1 << 20) / BLOCK_BYTES as u64)
}

/// Room for pages, for `--page-mib`.
#[derive(Args, Clone, Copy)]
pub struct PageArgs {
    /// Most room on the card for pages (copies of the neurons that a token is likely to need, side by side,
    /// so that one read fetches them), in MiB; 0 for none. Without it, four times the model's FFN, 64 to
    /// 1024 MiB, and less where fewer than 4096 tokens were traced.
    #[arg(long, value_name = "MIB")]
    page_mib: Option<u32>,
}

impl PageArgs {
    /// So many MiB, or in proportion.
    pub const fn new(page_mib: Option<u32>) -> Self {
        Self { page_mib }
    }

    /// The same; `mib` where nobody says.
    pub fn or(self, mib: u32) -> Self {
        Self::new(self.page_mib.or(Some(mib)))
    }

    /// Blocks of it, for a model whose FFN takes `ffn_bytes` on the card, placed by `tokens` of a profile.
    pub fn blocks(self, ffn_bytes: u64, tokens: usize) -> u64 {
        let proportion = || {
            let paid = (tokens as u64).min(PAGES_PER_FFN * PAYS);
            let bytes = (ffn_bytes.saturating_mul(paid) / PAYS).clamp(LEAST_PAGES, MOST_PAGES);
            bytes / BLOCK_BYTES as u64
        };
        self.page_mib.map_or_else(proportion, page_blocks)
    }
}

/// The simulated board.
#[derive(Args, Clone)]
pub struct MachineArgs {
    /// Card, for the simulated time of reads.
    #[arg(long, default_value = CARD, value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    pub card: &'static Preset,
    /// Core, for the simulated compute time.
    #[arg(long, default_value = "cortex-m7")]
    pub core: Core,
    /// What is mapped: none, dense (all but the FFN), all, or a number of bytes.
    #[arg(long, default_value = "dense", allow_negative_numbers = true)]
    pub map: Mapped,
    /// Neuron cache, in RAM: a share of the FFN's bytes from 0 to 1, or bytes with a unit (512B, 64KiB, 2MiB).
    #[arg(long, default_value = "0.1", value_name = "SHARE|BYTES", allow_negative_numbers = true)]
    pub cache: Cache,
    /// Most of the cache that may be filled for good with the neurons that fire most often (the hot prefix
    /// of each layer), in thousandths; what is left holds what was read last.
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(..=1000))]
    pub hot_permille: u32,
    /// Most unwanted blocks of 512 bytes that a read goes through to reach the next wanted one instead of
    /// starting another read (the collapse gap); without it, what calibrating the card gives.
    #[arg(long, value_name = "BLOCKS")]
    pub gap: Option<u32>,
    /// Start a command for each read, as drivers do whose transfer ends with its count; without it, a read goes on
    /// with the command of the read before it where that is not further than the gap.
    #[arg(long)]
    pub no_stay_open: bool,
    /// Staging, both halves, in blocks of 512 bytes; raised to what the largest record needs. Without
    /// it, eight collapse gaps of the card: 64 to 256 blocks, no more than two layers.
    #[arg(long, value_parser = value_parser!(u32).range(..=65536))]
    pub staging: Option<u32>,
    /// Numbers of the KV cache.
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    pub kv: Kv,
    /// Most positions of a pass: tokens of the prompt, or a draft, that share what they read.
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Read a layer's context page when its active neurons are known, and only if that pays; without
    /// it, the first part of the page is read while they are computed.
    #[arg(long)]
    pub no_read_ahead: bool,
    /// Positions of the KV cache; without it, the model's context.
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub context: Option<u32>,
}

/// How an image will be read.
#[derive(Clone, Copy)]
pub struct Reads {
    /// The card.
    pub card: &'static Preset,
    /// Staging, both halves; `None` for what suits the card.
    pub staging: Option<BlockCount>,
    /// Whether a read goes on with the command of the one before.
    pub stays_open: bool,
}

impl Reads {
    /// What they cost in layers of `neurons` bundles of `stride` bytes.
    pub fn cost(&self, stride: u32, neurons: usize) -> ReadCost {
        let apart = ReadCost::on(self.card, stride, neurons, self.staging);
        if self.stays_open { apart.staying_open(self.card, neurons) } else { apart }
    }
}

/// [`KvKind`] on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum Kv {
    /// 16 bits.
    F16,
    /// 8 bits.
    Q8,
}

impl From<Kv> for KvKind {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F16 => Self::F16,
            Kv::Q8 => Self::Q8,
        }
    }
}

impl MachineArgs {
    /// The share of the FFN's bytes that the cache can hold.
    pub fn cache_share(&self, geometry: &Geometry) -> f64 {
        self.cache.share_of(ffn_bytes(geometry))
    }

    /// What the kernel is told, for an image with this header; `staging`: blocks of it where nobody says. Its
    /// collapse gap is `--gap`, or 0.
    pub fn options(
        &self,
        header: &Header,
        staging: impl FnOnce() -> BlockCount,
    ) -> Result<Options> {
        let config = &header.geometry.config;
        let context = self.context.unwrap_or(config.context);
        if context > config.context {
            let most = config.context;
            return Err(bad_usage(anyhow!(
                "--context {context}: expected at most {most}, the model's context"
            )));
        }
        Ok(Options {
            context,
            spill: 0,
            kv: self.kv.into(),
            staging: self.staging.map_or_else(staging, BlockCount),
            page_buffer: BlockCount(0),
            cache_bytes: self.cache.bytes_of(ffn_bytes(&header.geometry)),
            hot_permille: self.hot_permille,
            admission: Admission::DEFAULT,
            eviction: Eviction::S3Fifo,
            collapse_gap: BlockCount(self.gap.unwrap_or(0)),
            batch: self.batch,
            read_ahead: !self.no_read_ahead,
            verify: true,
        })
    }

    /// How an image will be read.
    pub fn reads(&self) -> Reads {
        let staging = self.staging.map(BlockCount);
        Reads { card: self.card, staging, stays_open: !self.no_stay_open }
    }

    /// The board, for an image with this header.
    pub fn machine(&self, header: &Header) -> Result<Machine> {
        let layer = header.geometry.table_blocks(SectionKind::Ffn);
        let mut options = self.options(header, || staging(self.card, layer))?;
        if self.gap.is_none() {
            options.collapse_gap = calibrated_gap(self.card, &header.geometry, &options);
        }
        let stays_open = !self.no_stay_open;
        let (preset, core, mapped) = (self.card, self.core, self.map);
        Ok(Machine { preset, core, mapped, stays_open, options })
    }
}

/// A number format of weights, by its name.
pub fn quants() -> impl TypedValueParser<Value = Quant> {
    let value =
        |(quant, about): (Quant, &'static str)| PossibleValue::new(quant.name()).help(about);
    PossibleValuesParser::new(Quant::WEIGHTS.map(value)).map(|name| {
        let mut all = Quant::WEIGHTS.into_iter().map(|(quant, _)| quant);
        all.find(|quant| quant.name() == name).unwrap_or(Quant::Q8)
    })
}

/// How rows are stored.
#[derive(Args, Clone, Copy, PartialEq)]
pub struct RowArgs {
    /// Rows of the neurons, the exact predictor's included.
    #[arg(long, value_parser = quants(), default_value = Quant::Q8.name())]
    pub ffn: Quant,
    /// Rows of attention: query, key, value, output.
    #[arg(long, value_parser = quants(), default_value = Quant::Q8.name())]
    pub attn: Quant,
    /// Rows of the output head and the embedding, which are one table in most small models.
    #[arg(long, value_parser = quants(), default_value = Quant::Q8.name())]
    pub head: Quant,
}

impl RowArgs {
    /// All in 8 bits.
    pub const Q8: Self = Self { ffn: Quant::Q8, attn: Quant::Q8, head: Quant::Q8 };

    /// The format of each section.
    pub fn quants(&self) -> Quants {
        Quants::Q8
            .with(&[SectionKind::Ffn, SectionKind::Predictor], self.ffn)
            .with(&[SectionKind::Qkv, SectionKind::Output], self.attn)
            .with(&[SectionKind::Embedding, SectionKind::Head], self.head)
    }

    /// The same in words.
    pub fn names(&self) -> String {
        let Self { ffn, attn, head } = self;
        format!("ffn {}, attn {}, head {}", ffn.name(), attn.name(), head.name())
    }
}

/// The size of the neuron cache on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cache {
    /// A share of the FFN's bytes, 0 to 1.
    Share(f64),
    /// So many bytes.
    Bytes(u64),
}

impl Cache {
    /// The share of an FFN of `ffn_bytes` that it can hold.
    pub fn share_of(self, ffn_bytes: u64) -> f64 {
        match self {
            Self::Share(share) => share,
            Self::Bytes(bytes) => bytes as f64 / ffn_bytes.max(1) as f64,
        }
    }

    /// The bytes it takes, beside an FFN of `ffn_bytes`.
    fn bytes_of(self, ffn_bytes: u64) -> u32 {
        let bytes = match self {
            Self::Share(share) => (share * ffn_bytes as f64) as u64,
            Self::Bytes(bytes) => bytes,
        };
        bytes.min(u32::MAX.into()) as u32
    }
}

impl std::str::FromStr for Cache {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            "expected a share of the FFN from 0 to 1, or bytes with a unit: 512B, 64KiB, 2MiB"
                .to_owned()
        };
        if let Ok(share) = text.parse::<f64>() {
            return match (0.0..=1.0).contains(&share) {
                true => Ok(Self::Share(share)),
                false => Err(expected()),
            };
        }
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0)];
        let bytes = units.into_iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift)
        });
        bytes.map(Self::Bytes).ok_or_else(expected)
    }
}

/// Bytes that the bundles of an image take.
pub fn ffn_bytes(geometry: &Geometry) -> u64 {
    let c = &geometry.config;
    u64::from(c.neurons) * u64::from(c.layers) * u64::from(geometry.bundle_layout().stride())
}

#[cfg(test)]
mod tests {
    use super::{LEAST_PAGES, MOST_PAGES, PageArgs};
    use ripple_hal::BLOCK_BYTES;

    #[test]
    fn pages_take_no_more_room_than_the_profile_pays_for() {
        let bytes = |ffn, tokens| PageArgs::new(None).blocks(ffn, tokens) * BLOCK_BYTES as u64;
        let ffn = 100 << 20;
        assert_eq!(bytes(ffn, 16_384), 4 * ffn);
        assert_eq!(bytes(ffn, 2048), 2 * ffn);
        assert_eq!(bytes(ffn, 128), LEAST_PAGES);
        assert_eq!(bytes(1 << 20, 128), LEAST_PAGES);
        assert_eq!(bytes(8 << 30, 16_384), MOST_PAGES);
        assert_eq!(PageArgs::new(Some(3)).blocks(ffn, 1), 3 << 11);
    }
}
