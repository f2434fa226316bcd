//! The smallest program that goes on from a text: `decode IMAGE TEXT`.
//!
//! ```sh
//! # In the repository: makes an image.
//! cargo run --release -p ripple-host-sim -- image --board lm3s6965evb -o story.image
//! cargo run --release -p ripple-kernel --example decode -- story.image "Once upon a time"
//! ```

use embedded_io_adapters::std::FromStd;
use ripple_hal::{BLOCK_BYTES, Block, Stream};
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::text::TextStream;
use ripple_kernel::text::sample::likeliest;
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_kernel::{Decoder, Memory, MemoryPlan, Options};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(prompt)) = (arguments.next(), arguments.next()) else {
        return Err("usage: decode IMAGE TEXT".into());
    };

    // What a board would have in flash: the image up to its FFN, the header first.
    let mut front = Vec::new();
    File::open(&image)?.take(64 * BLOCK_BYTES as u64).read_to_end(&mut front)?;
    let header = Header::parse(&front)?;
    front.clear();
    let mapped = u64::from(header.section(SectionKind::Ffn).start.0) * BLOCK_BYTES as u64;
    File::open(&image)?.take(mapped).read_to_end(&mut front)?;

    // What a board would have in static memory.
    let options = Options { cache_bytes: 64 * 1024, batch: 8, ..Options::DEFAULT };
    let plan = MemoryPlan::for_model(&header.geometry, &options);
    let (mut work, mut staging) = (vec![0; plan.work], vec![Block::ZERO; plan.staging]);
    let (mut cache, mut index) = (vec![0; plan.cache], vec![0; plan.index]);
    let mut kv = vec![0; plan.kv];
    let memory = Memory {
        work: &mut work,
        staging: &mut staging,
        cache: &mut cache,
        index: &mut index,
        kv: &mut kv,
    };

    let card = Stream::new(FromStd::new(File::open(&image)?));
    let mut decoder = Decoder::open(card, &front, memory, &options, ())?;
    let tokenizer = Tokenizer::parse(decoder.image().tokenizer().ok_or("no tokenizer")?)?;
    let mut ids = vec![0; prompt.len() + 2];
    let count = tokenizer.encode(&prompt, EncodeOptions::TEXT, &mut ids)?;

    let mut out = std::io::stdout();
    out.write_all(prompt.as_bytes())?;
    let mut text = TextStream::new(tokenizer);
    let mut token = likeliest(decoder.prefill(&ids[..count])?);
    while text.push(token, |piece| print!("{piece}")).is_none()
        && decoder.position() < decoder.context()
    {
        out.flush()?;
        token = likeliest(decoder.step(token)?);
    }
    text.finish(|piece| print!("{piece}"));
    println!();
    Ok(())
}
