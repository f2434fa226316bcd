//! Learning: every option that a text can change, every method; adapters on a card, and a decoder with them.

use crate::io::{Device, blocks, bytes, coin, float, floats, give, word, words};
use core::hint::black_box;
use ripple_hal::{Block, BlockCount, BlockIdx};
use ripple_kernel::adapter::{Adapter, AdapterFile, AdapterShape};
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, KvKind, Memory, Options};
use ripple_tune::{
    AdapterSlots, Arms, AttentionTape, Choice, ColumnScore, Columns, Elimination, FfnTape,
    Gradients, InputTape, Keep, LossTape, Optimiser, Rate, Schedule, Store, Targets, TuneMemory,
    TuneOptions, TuneRegion, Tuner,
};

/// Opens a tuner and runs what the word says; then loads adapters and gives them to a decoder.
#[inline(never)]
pub fn run() {
    if let Ok(mut tuner) = Tuner::<_, _, f32>::open(Device, bytes(), memory(), &options(), ()) {
        train(&mut tuner);
    }
    if let Ok(header) = Header::parse(bytes()) {
        load(&header);
    }
}

fn train(tuner: &mut Tuner<'static, Device>) {
    loop {
        let rate = Rate { rate: float(), clip: float() };
        match word() {
            0 => tuner.begin(word().into()),
            1 => tuner.forget(),
            2 => give(tuner.set_adapters(floats()).into()),
            3 => give(tuner.adapters().len() as u32 + tuner.gradients().len() as u32),
            4 => give(tuner.evaluate(words()).map_or(0, f32::to_bits)),
            5 => give(tuner.accumulate(words()).map_or(0, f32::to_bits)),
            6 => give(tuner.update(rate).to_bits()),
            7 => give(tuner.step(words(), rate).map_or(0, |step| step.loss.to_bits())),
            8 => tuner.count_from(word()),
            9 => give(tuner.steps() + tuner.numbers() as u32 + tuner.options().tokens),
            10 => {
                let schedule =
                    Schedule { rate: float(), warm_up: word(), steps: word(), clip: float() };
                give(schedule.at(word()).rate.to_bits());
            }
            11 => TuneRegion::ALL.into_iter().for_each(|region| {
                give(tuner.plan().region_bytes(region) as u32);
            }),
            12 => {
                let (file, header, device) = tuner.file_and_device();
                let saved = slots().save(device, header, &file, &mut [Block::ZERO; 4]);
                give(saved.unwrap_or(0));
            }
            13 => give(tuner.spill_to(BlockIdx(word())).is_ok().into()),
            14 => give(tuner.set_guide(floats()).into()),
            15 => give(tuner.evaluate_kept(words()).map_or(0, f32::to_bits)),
            16 => {
                let seen = tuner.look(words(), &mut |look| give(look.scores.len() as u32));
                give(seen.is_ok().into());
            }
            17 => give(tuner.guide().len() as u32 + tuner.plan().spill_blocks().0),
            18 => {
                let seen = tuner.logits(words(), &mut |_, z| give(z.len() as u32));
                give(seen.is_ok().into());
            }
            _ => return,
        }
    }
}

fn slots() -> AdapterSlots {
    AdapterSlots::between(BlockIdx(word()), BlockCount(word()))
}

fn load(header: &Header) {
    let Ok(Some((sequence, file))) =
        slots().load(&mut Device, header, words(), &mut [Block::ZERO; 2])
    else {
        return;
    };
    give(sequence);
    let AdapterFile { shape, numbers, .. } = file;
    give(AdapterShape { rank: word(), ..shape }.numbers(&header.geometry.config) as u32);
    let options = Options {
        context: word(),
        kv: if coin() { KvKind::F16 } else { KvKind::Q8 },
        batch: word(),
        ..Options::DEFAULT
    };
    let memory =
        Memory { work: words(), staging: blocks(), cache: words(), index: words(), kv: words() };
    let Ok(mut decoder) = Decoder::open(Device, bytes(), memory, &options, ()) else { return };
    let adapter = Adapter { shape, numbers, inner: floats() };
    if decoder.set_adapter(Some(adapter)).is_ok() {
        give(decoder.step(word()).map_or(0, |logits| logits.len() as u32));
        give(decoder.prefill(&[word(), word(), word()]).map_or(0, |logits| logits.len() as u32));
    }
}

#[inline(never)]
fn memory() -> TuneMemory<'static> {
    let arena = words();
    // SAFETY: the image is never run.
    let arena = unsafe {
        core::slice::from_raw_parts_mut(arena.as_mut_ptr().cast::<u64>(), arena.len() >> 1)
    };
    TuneMemory { arena, staging: blocks() }
}

/// Any options.
#[inline(never)]
fn options() -> TuneOptions {
    let store = || match word() {
        0 => Store::Full,
        1 => Store::Half,
        _ => Store::Bytes,
    };
    let elimination = coin().then(|| Elimination {
        first: word(),
        end: word(),
        block: word(),
        keep_permille: word(),
        choice: match word() {
            0 => Choice::Oracle { causal: coin(), once: coin() },
            1 => Choice::Recency,
            2 => Choice::Ahead,
            3 => Choice::Predicted { rank: word() },
            4 => Choice::KeyLength,
            5 => Choice::Before,
            _ => Choice::Random(word()),
        },
        keep: if coin() { Keep::Share } else { Keep::Threshold },
    });
    let arms = Arms {
        loss: if coin() { LossTape::Logits } else { LossTape::Online },
        ffn: match word() {
            0 => FfnTape::Values,
            1 => FfnTape::Mask,
            2 => FfnTape::Columns(Columns {
                keep_permille: word(),
                score: if coin() { ColumnScore::Length } else { ColumnScore::Slope },
                values: coin(),
            }),
            _ => FfnTape::Nothing,
        },
        attention: match word() {
            0 => AttentionTape::Kept { values: store(), middle: store() },
            _ => AttentionTape::Nothing,
        },
        input: if coin() { InputTape::Recovered } else { InputTape::Kept(store()) },
        elimination,
        spill: coin(),
    };
    let optimiser = match word() {
        0 => Optimiser::Sgd,
        _ => Optimiser::AdamW { beta1: float(), beta2: float(), eps: float(), decay: float() },
    };
    black_box(TuneOptions {
        tokens: word(),
        rank: word(),
        alpha: float(),
        targets: Targets::from_code(word() as u8).unwrap_or(Targets::QV),
        optimiser,
        gradients: match word() {
            0 => Gradients::Whole,
            1 => Gradients::Layer,
            _ => Gradients::Sampled { eps: float() },
        },
        arms,
        window: word(),
        staging: BlockCount(word()),
        collapse_gap: BlockCount(word()),
    })
}
