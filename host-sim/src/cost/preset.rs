//! Cards by name.
//!
//! In: a name. Out: a [`Timing`] and where its numbers come from. All are published or fitted
//! figures for one read at a time (queue depth 1 where the source allows): nothing here was measured
//! by this project.

use super::Timing;

/// A named card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Access time before the first byte, in nanoseconds.
    pub t0_ns: u64,
    /// Bytes per second after it.
    pub bytes_per_second: u64,
    /// Points `(bytes, ns)` of a card that is not affine; empty for those that are.
    pub table: &'static [(u64, u64)],
    /// What the numbers are chosen from.
    pub source: &'static str,
}

/// There is no preset of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no card preset is called {name:?}; there are {known}", known = Preset::names().join(", "))]
pub struct UnknownPreset {
    /// The name asked for.
    pub name: String,
}

const fn affine(
    name: &'static str,
    t0_us: u64,
    kilobytes_per_second: u64,
    source: &'static str,
) -> Preset {
    let (t0_ns, bytes_per_second) = (t0_us * 1000, kilobytes_per_second * 1000);
    Preset { name, t0_ns, bytes_per_second, table: &[], source }
}

impl Preset {
    /// Every preset, slowest bus first.
    pub const ALL: [Self; 8] = [
        affine(
            "spi",
            600,
            2_100,
            "SPI 20-25 MHz, fitted range t0 500-1000 us, 1.7-2.5 MB/s: 1.67 MB/s multi-sector on \
             ESP32-S3 (atomic14); about 0.6 ms CMD17 wait of a Toshiba 4 GB card (TF-card protocol \
             note)",
        ),
        affine(
            "sdio-hs",
            400,
            20_000,
            "SDIO 4-bit High Speed, fitted range t0 300-600 us random, 16-22 MB/s: Teensy 4.1 DMA \
             2.2-16.1 MB/s for 512 B-32 KB (SdFat #250); Teensy 4.0 streaming 22.7 MB/s (pjrc)",
        ),
        affine(
            "uhs-ddr50",
            400,
            44_000,
            "UHS-I DDR50 on Pi 4, fitted range t0 290-530 us, 44 MB/s: 15 cards, sequential 41-44 \
             MB/s, 4K random 1.6-2.6k IOPS (pidramble)",
        ),
        affine(
            "uhs-sdr104",
            230,
            92_000,
            "UHS-I about SDR104, command queue off, fitted range t0 180-310 us, 70-94 MB/s: \
             Samsung PRO Plus, AmazonBasics, RPi 32G (bretmlw/sbc-benchmarks)",
        ),
        Self {
            name: "sandisk-extreme",
            t0_ns: 295_000,
            bytes_per_second: 85_500_000,
            // 3389, 1659, 743 and 149 random reads a second.
            table: &[
                (4 << 10, 295_072),
                (8 << 10, 602_773),
                (64 << 10, 1_345_895),
                (512 << 10, 6_711_409),
            ],
            source: "SanDisk Extreme, UHS-I, command queue off: random IOPS 4K 3389, 8K 1659, 64K \
                     743, 512K 149 (bretmlw/sbc-benchmarks); not affine, 8K costs twice 4K",
        },
        affine(
            "emmc-hs200",
            224,
            168_000,
            "eMMC HS200 SiliconGo 7 GB, iozone, queue depth 1 inferred: random 4K 17.15, 16K \
             44.93, 512K 153 MB/s, sequential 167 (bretmlw/sbc-benchmarks)",
        ),
        affine(
            "emmc-hs400",
            100,
            300_000,
            "eMMC HS400, fitted range t0 40-100 us, 270-300 MB/s from queued fio, the slowest t0 \
             taken since queues hide latency: ArmSoM Sige5 64 GB (bretmlw/sbc-benchmarks)",
        ),
        affine(
            "ufs4",
            5,
            4_000_000,
            "UFS 4.0, effective and queued, fitted range t0 3-8 us, 3.5-4.2 GB/s: 4.2 GB/s vendor \
             peak (Samsung); 24 KB knee of the Ripple paper",
        ),
    ];

    /// The preset called `name`.
    ///
    /// # Errors
    /// Lists the names there are.
    pub fn by_name(name: &str) -> Result<&'static Self, UnknownPreset> {
        const ALL: &[Preset] = &Preset::ALL;
        let found = ALL.iter().find(|preset| preset.name == name);
        found.ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }

    /// Every name, in order.
    pub fn names() -> [&'static str; Self::ALL.len()] {
        Self::ALL.map(|preset| preset.name)
    }

    /// What a read of `n` bytes takes, in words.
    pub fn speed(&self) -> String {
        let (t0_us, megabytes) = (self.t0_ns as f64 / 1e3, self.bytes_per_second as f64 / 1e6);
        match self.table {
            [] => format!("{t0_us} µs + n / {megabytes} MB/s"),
            _ => "published table".to_owned(),
        }
    }

    /// Its timing, without tail.
    pub fn timing(&self) -> Timing {
        let table = (!self.table.is_empty()).then(|| self.table.to_vec());
        Timing { table, ..Timing::affine(self.t0_ns, self.bytes_per_second) }
    }
}
