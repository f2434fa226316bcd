//! What is done with hostile bytes, one function for each kind of file: the same for a fuzzer and for a seeded test.
//!
//! In: bytes. Out: nothing; whatever they are, it is an error or a value, and never a panic. A function whose
//! input is a file's writes it to a folder of its own.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_hal::{Block, BlockCount, FatFile, PartitionTable, RawPartition, Slice};
use ripple_host_sim::import::{import, tokenizer};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::chat::ChatTemplate;
use ripple_host_sim::model::tokenizer::open;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::profile::trace::Trace;
use ripple_host_sim::run::chat::{Message, render};
use ripple_kernel::adapter::AdapterFile;
use ripple_kernel::image::{Crc32, Header, Image, SectionKind};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_kernel::{Decoder, MemoryPlan, Options, Region};
use std::path::Path;

/// A kind of input.
pub type Target = fn(&[u8], &Path);

/// All kinds, by name. The path is of an empty folder.
pub const TARGETS: [(&str, Target); 12] = [
    ("image", |bytes, _| image(bytes)),
    ("sealed_image", |bytes, _| sealed_image(bytes)),
    ("tokenizer", |bytes, _| tokenizer_section(bytes)),
    ("adapter", |bytes, _| adapter(bytes)),
    ("card", |bytes, _| card(bytes)),
    ("chat_template", |bytes, _| chat_template(bytes)),
    ("tokenizer_json", |bytes, folder| {
        let _ = tokenizer::read(&file(bytes, folder, "tokenizer.json"));
    }),
    ("model_file", |bytes, folder| {
        // GGUF and llama2.c, by what they begin with.
        let _ = import(&file(bytes, folder, "model.bin"));
    }),
    ("config_json", |bytes, folder| {
        file(bytes, folder, "config.json");
        let _ = import(folder);
    }),
    ("safetensors", |bytes, folder| {
        file(bytes, folder, "model.safetensors");
        let _ = import(folder);
    }),
    ("placement", |bytes, folder| {
        let _ = Placement::read(&file(bytes, folder, "a.placement"));
    }),
    ("trace", |bytes, folder| {
        let _ = Trace::read(&file(bytes, folder, "a.trace"));
    }),
];

fn file(bytes: &[u8], folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a folder that can be written");
    path
}

/// An image on a card, read and mapped, and a few tokens of it.
pub fn image(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else { return };
    let options = Options { context: 8, cache_bytes: 512, ..Options::DEFAULT };
    let plan = MemoryPlan::for_model(&header.geometry, &options);
    // As much as a test may take.
    if Region::ALL.iter().any(|region| plan.region_bytes(*region) > 16 << 20) {
        return;
    }
    let _ = Image::new(header, bytes).verify_mapped();
    for (mapped, verify) in [(0, false), (bytes.len() / 2, true), (bytes.len(), false)] {
        let mut memory = HostMemory::new(&plan);
        let options = Options { verify, ..options };
        let opened =
            Decoder::open(Slice::new(bytes), &bytes[..mapped], memory.lend(), &options, ());
        let Ok(mut decoder) = opened else { continue };
        for token in [1, 2, 1] {
            let _ = decoder.step(token);
        }
    }
}

/// The same once every check is right again: of records, of sections, of the header.
pub fn sealed_image(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    image(&sealed);
}

/// Makes all checks of an image right.
pub fn seal(image: &mut [u8]) {
    seal_header(image);
    let Ok(header) = Header::parse(image) else { return };
    for kind in SectionKind::ALL {
        for layer in 0..header.parts(kind) {
            let table = Image::new(header, &[]).table(kind, layer);
            let stride = table.layout.stride().max(1) as usize;
            let start = table.start.0 as usize * 512;
            let records = image.get_mut(start..).unwrap_or_default().chunks_exact_mut(stride);
            for (slot, record) in (0..table.count).zip(records) {
                table.layout.seal(table.identity(slot), record);
            }
        }
    }
    // The table of sections: after what describes the model, an entry of 24 bytes each, its CRC last.
    for at in (0..usize::from(image[10])).map(|i| 128 + 24 * i) {
        let Some(Ok(kind)) = image.get(at).map(|code| SectionKind::try_from(*code)) else {
            continue;
        };
        let section = header.section(kind);
        let start = section.start.0 as usize * 512;
        let bytes = section.part.0 as usize * header.parts(kind) as usize * 512;
        let mut crc = Crc32::new();
        crc.update(image.get(start..start.saturating_add(bytes)).unwrap_or_default());
        if let Some(place) = image.get_mut(at + 20..at + 24) {
            place.copy_from_slice(&crc.finish().to_le_bytes());
        }
    }
    seal_header(image);
}

fn seal_header(image: &mut [u8]) {
    let Some(&end) = image.get(12..16).and_then(|bytes| bytes.first_chunk()) else { return };
    let end = (u32::from_le_bytes(end) as usize).clamp(20, image.len().max(20));
    let mut crc = Crc32::new();
    crc.update(image.get(20..end).unwrap_or_default());
    if let Some(place) = image.get_mut(16..20) {
        place.copy_from_slice(&crc.finish().to_le_bytes());
    }
}

/// A tokenizer section; what the host accepts gives back the text that it is given.
pub fn tokenizer_section(bytes: &[u8]) {
    let text = "One day, 12 caf\u{e9}s  <|endoftext|>\n";
    let mut ids = [0; 256];
    if let Ok(tokenizer) = Tokenizer::parse(bytes) {
        let Ok(count) = tokenizer.encode(text, EncodeOptions::TEXT, &mut ids) else { return };
        for id in &ids[..count] {
            assert!(tokenizer.bytes(*id).is_some(), "a token that there is not");
        }
    }
    let _ = open(bytes);
}

/// An adapter of the image of a tiny model.
pub fn adapter(bytes: &[u8]) {
    use crate::arbitrary::image;
    use ripple_host_sim::predictor::PredictorChoice;
    use std::sync::OnceLock;
    static HEADER: OnceLock<Header> = OnceLock::new();
    let header = HEADER.get_or_init(|| {
        let image = image(crate::tiny::Shape::LLAMA, &PredictorChoice::Exact, &[3]);
        Header::parse(&image).expect("an image")
    });
    let words =
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let _ = AdapterFile::parse(&words.collect::<Vec<_>>(), header);
}

/// The first blocks of a card: a partition table, a FAT, a directory.
pub fn card(bytes: &[u8]) {
    let mut blocks = vec![Block::ZERO; BlockCount::for_bytes(bytes.len() as u64).0 as usize];
    Block::bytes_mut(&mut blocks)[..bytes.len()].copy_from_slice(bytes);
    if let Some(first) = blocks.first() {
        let _ = PartitionTable::parse(&first.0).map(|table| table.partitions().count());
    }
    let bytes = Block::bytes(&blocks);
    let _ = FatFile::<8>::resolve(&mut Slice::new(bytes), "RIPPLE.IMG", &mut [Block::ZERO; 3]);
    let _ = RawPartition::find(Slice::new(bytes), &mut [Block::ZERO]);
}

/// A chat template, rendered for a short talk.
pub fn chat_template(bytes: &[u8]) {
    let Ok(template) = std::str::from_utf8(bytes) else { return };
    let chat = ChatTemplate { template: template.to_owned(), tokens: Default::default() };
    let talk =
        [Message::new("user", "hi"), Message::new("assistant", "ho"), Message::new("user", "hm")];
    let _ = render(&chat, &talk, true);
}

/// Input number `number` of those that come of `seed`: some bits, numbers, pieces or words of it changed.
pub fn mutated(seed: &[u8], number: u64) -> Vec<u8> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(number);
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        // Fronts hold what says how the rest is read.
        let end = if rng.random_bool(0.5) { bytes.len().min(512) } else { bytes.len() };
        let at = rng.random_range(0..end);
        let to = rng.random_range(0..bytes.len());
        let length = rng.random_range(1..=32).min(bytes.len() - at.max(to));
        match rng.random_range(0..9) {
            0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = rng.random(),
            3 => {
                bytes[at] =
                    *b"0123456789eE-+.,:[]{}\"\\ ".get(rng.random_range(0..25)).unwrap_or(&b'9')
            }
            4 => {
                let number =
                    [0, 1, u32::MAX, 1 << 31, 1 << 16, rng.random()][rng.random_range(0..6)];
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&u32::to_le_bytes(number)[..end - at]);
            }
            5 => bytes.truncate(at),
            6 => bytes.copy_within(at..at + length, to),
            7 => drop(bytes.drain(at..at + length)),
            _ => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}
