//! What of the kernel stands beside the decoder: views of an image, single pieces of arithmetic,
//! speculation, replay.

use crate::io::{self, Device, blocks, bytes, float, floats, give, text, word, words};
use ripple_hal::{BlockCount, BlockIdx};
use ripple_kernel::decode::replay::{Bundles, Replay};
use ripple_kernel::image::{Crc32, Header, Image, Page, SectionKind, Table, record};
use ripple_kernel::layer::predictor;
use ripple_kernel::math::accumulate::{Accumulator, Accumulators};
use ripple_kernel::math::{self, Packed, norm, quant, rope, softmax::softmax};
use ripple_kernel::read::collapse;
use ripple_kernel::text::stop::{StopMatcher, Stops};
use ripple_kernel::{Decoder, Memory, MemoryPlan, Options, Region, Speculation};

/// All of it.
#[inline(never)]
pub fn run() {
    image();
    arithmetic();
    replay();
    speculation();
    stop();
}

fn memory() -> Memory<'static> {
    Memory { work: words(), staging: blocks(), cache: words(), index: words(), kv: words() }
}

fn options() -> Options {
    Options { context: word(), batch: word(), cache_bytes: word(), ..Options::DEFAULT }
}

#[inline(never)]
fn image() {
    let mut crc = Crc32::new();
    crc.update(bytes());
    give(crc.finish());
    let header = match Header::parse(bytes()) {
        Ok(header) => header,
        Err(error) => {
            return give(matches!(error, ripple_kernel::image::ImageError::Config(_)).into());
        }
    };
    let plan = MemoryPlan::for_model(&header.geometry, &options());
    give(plan.bytes() as u32);
    for region in Region::ALL {
        give(plan.region_bytes(region) as u32 + region.name().len() as u32);
    }
    give(plan.check(&memory()).map_or_else(|error| error.needed, |()| 0));
    let info = Header::layer_info(bytes(), word());
    give(info.hot + info.active);
    let image = Image::new(header, bytes());
    give(image.verify_mapped().is_ok().into());
    for kind in SectionKind::ALL {
        give(image.header.section(kind).start.0 + image.header.parts(kind));
        table(&image.table(kind, word()));
    }
    let words = words();
    if let Some(page) =
        Page::of_layer(words, word(), word(), word(), BlockIdx(word()), BlockCount(word()))
    {
        let slots = page.directory(bytes()).unwrap_or(&[]);
        slots.iter().for_each(|slot| give(slot.get().into()));
        give(Page::front_blocks(page.bundles, page.ahead, word()).0 + page.rest.0);
    }
}

#[inline(never)]
fn table(table: &Table<'_>) {
    let (mapped, arrived) = (table.mapped(word()), table.arrived(word(), bytes()));
    for record in [mapped, arrived].into_iter().flatten() {
        let i = word() as usize;
        record.row(i).iter().for_each(|x| give(*x as u32));
        record.words(i).iter().for_each(|word| give(u32::from_le_bytes(*word)));
        give(record.scale(i).to_bits() + record.bias().to_bits());
        give(record.is(record::identity(word(), word(), word(), table.identity(word()))).into());
    }
}

#[inline(never)]
fn arithmetic() {
    let rows = || table_row(bytes());
    give(math::dot(rows(), Packed::new(rows(), words())) as u32);
    give(math::dot_f32(floats(), floats()).to_bits());
    give(math::half_to_f32(word() as u16).to_bits());
    norm::rms(floats(), floats(), floats(), float());
    norm::layer(floats(), floats(), floats(), floats(), float());
    rope::angles(floats(), floats(), floats(), word());
    rope::rotate(floats(), floats(), floats());
    softmax(floats());
    give(quant::max_abs(floats()).to_bits());
    predictor::slice(floats(), word(), words());
    give(predictor::score(&[word().to_le_bytes()], words(), word() as usize, word()) as u32);
    let (mut narrow, mut high, mut left) = ([0; 4], [0; 4], 0);
    let mut sum = Accumulator::new(&mut narrow, &mut high, &mut left);
    sum.add(float(), rows());
    sum.finish(|j, y| give(j as u32 + y.to_bits()));
    let mut left = [0; 1];
    let mut sums = Accumulators::new(word() as usize, &mut narrow, &mut high, &mut left);
    if let Some(mut sum) = sums.at(word() as usize) {
        sum.add(float(), rows());
    }
    let slots = words().iter().copied();
    for extent in collapse::collapse(slots, word(), BlockCount(word()), BlockCount(word())) {
        give(extent.start + extent.blocks.0 + extent.first_slot + extent.wanted);
    }
}

fn table_row(bytes: &[u8]) -> &[i8] {
    // SAFETY: the same size and alignment.
    unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

#[inline(never)]
fn replay() {
    let bundles = Bundles { layers: word(), neurons: word(), stride: word(), work: word() };
    give(bundles.layer_blocks().0 + bundles.plan(&options()).work as u32);
    let Ok(mut replay) = Replay::new(Device, bundles, memory(), &options(), |_| word(), ()) else {
        return give(1);
    };
    let page = Page {
        start: BlockIdx(word()),
        rest: BlockIdx(word()),
        bundles: word() as u16,
        ahead: word() as u16,
        together: BlockCount(word()),
        identity: word(),
    };
    let slots = [word() as u16, word() as u16];
    give(replay.layer(word(), &slots, Some(page)).is_ok().into());
    replay.set_collapse_gap(BlockCount(word()));
    io::device(replay.device_mut());
}

#[inline(never)]
fn speculation() {
    let Ok(mut decoder) = Decoder::open(Device, bytes(), memory(), &options(), ()) else {
        return give(1);
    };
    let mut speculation = Speculation::new(words(), word());
    speculation.accept(word());
    if let Ok(tokens) = speculation.step(&mut decoder, word()) {
        tokens.iter().for_each(|token| give(*token));
    }
    give(speculation.drafted() + speculation.accepted());
    give(decoder.spill().is_err() as u32 + decoder.spilled() + decoder.room());
    give(decoder.slide(word(), word()).is_err().into());
    decoder.kept(word()).iter().for_each(|word| give(*word));
    let restored = decoder.restore(word(), |layer, words| words.fill(layer));
    give(restored.map_or_else(|error| error.context, |()| 0));
}

#[inline(never)]
fn stop() {
    let stops = [text(), text()];
    let mut matcher = StopMatcher::new(&stops);
    let mut piece = |piece: &str| piece.bytes().for_each(|byte| give(byte.into()));
    while let Some(found) = matcher.push(text(), &mut piece) {
        give(found as u32);
    }
    matcher.finish(piece);
}
