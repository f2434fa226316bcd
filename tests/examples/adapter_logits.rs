//! Writes the logits of an image with an adapter, for `tests/reference/adapters.py` to compare with.
//!
//! ```sh
//! cargo run -p ripple-tests --example adapter_logits -- IMAGE ADAPTER TEXT TOKENS OUT.safetensors
//! ```
//!
//! `tokens` are the first of the text behind the token that begins one, `logits` `(tokens, vocab)` those behind each of
//! them. Of the model that is trained: rows as they are in the image, activations in 32 bits.

use ripple_hal::{Block, Slice};
use ripple_host_sim::machine::adapter::Saved;
use ripple_host_sim::machine::header;
use ripple_host_sim::model::text::encode;
use ripple_kernel::image::Image;
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_tune::{TuneMemory, TuneOptions, TunePlan, Tuner};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [image, adapter, text, count, out] = &args[..] else {
        return Err("expected IMAGE ADAPTER TEXT TOKENS OUT.safetensors".into());
    };
    let count: u32 = count.parse()?;
    let image = std::fs::read(image)?;
    let head = header(&image)?;
    let saved = Saved::read(Path::new(adapter), &head)?;
    let section = Image::new(head, &image).tokenizer().ok_or("the image has no tokenizer")?;
    let tokenizer = Tokenizer::parse(section).map_err(|error| error.to_string())?;
    let options = EncodeOptions { parse_special: true, ..EncodeOptions::TEXT };
    let mut tokens = encode(&tokenizer, &std::fs::read_to_string(text)?, options)?;
    if tokens.len() <= count as usize {
        return Err(format!("{text}: {} tokens, expected more than {count}", tokens.len()).into());
    }
    tokens.truncate(count as usize + 1);
    let shape = saved.shape;
    let options = TuneOptions {
        tokens: count,
        rank: shape.rank,
        alpha: shape.alpha,
        targets: shape.targets,
        ..TuneOptions::DEFAULT
    };
    let plan = TunePlan::for_model::<f32>(&head.geometry, &options);
    let (mut arena, mut staging) = (vec![0; plan.arena()], vec![Block::ZERO; plan.staging]);
    let memory = TuneMemory { arena: &mut arena, staging: &mut staging };
    let mut tuner = Tuner::<_, _, f32>::open(Slice::new(&image), &[], memory, &options, ())
        .map_err(|error| error.to_string())?;
    if !tuner.set_adapters(&saved.numbers) {
        return Err("the adapter has another number of numbers than the image asks for".into());
    }
    let (count, vocab) = (count as usize, head.geometry.config.vocab as usize);
    let mut logits = vec![0.0f32; count * vocab];
    let see = &mut |v: usize, z: &[f32]| {
        z.iter().enumerate().for_each(|(token, z)| logits[token * vocab + v] = *z);
    };
    tuner.logits(&tokens, see).map_err(|error| error.to_string())?;
    let tokens: Vec<u8> =
        tokens[..count].iter().flat_map(|token| i64::from(*token).to_le_bytes()).collect();
    let logits: Vec<u8> = logits.iter().flat_map(|z| z.to_le_bytes()).collect();
    let views = [
        ("tokens", TensorView::new(Dtype::I64, vec![count], &tokens)?),
        ("logits", TensorView::new(Dtype::F32, vec![count, vocab], &logits)?),
    ];
    std::fs::write(out, safetensors::serialize(views, None)?)?;
    Ok(())
}
