//! What a pass reads whatever its tokens are: said to the device a layer before.
//!
//! In: the layer that comes next. Out: its tables, told to the device in the order in which they are read. Costs nothing
//! where the device does not look ahead.

use crate::image::SectionKind;
use crate::layer::Chunk;
use crate::read::fetch::Io;
use crate::read::probe::Probe;
use ripple_hal::{BlockDevice, Coming};

/// Tells the device of what `layer` reads; behind the last layer, of the head and of what the next pass begins with.
pub(super) fn tell<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    chunk: &Chunk<'_, '_, D, P>,
    layer: u32,
) {
    if !D::LOOKS_AHEAD {
        return;
    }
    let config = &chunk.image.header.geometry.config;
    if layer < config.layers {
        return tell_layer(io, chunk, layer);
    }
    let kind = if config.tied_head { SectionKind::Embedding } else { SectionKind::Head };
    let head = chunk.image.table(kind, 0);
    io.will_read_records(&head, 0..head.count, Coming::Later);
    tell_layer(io, chunk, 0);
}

fn tell_layer<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    chunk: &Chunk<'_, '_, D, P>,
    layer: u32,
) {
    use SectionKind::{Ffn, LayerVectors, Output, Predictor, Projection, Qkv};
    for kind in [LayerVectors, Qkv, Output, Projection, Predictor] {
        let table = chunk.image.table(kind, layer);
        io.will_read_records(&table, 0..table.count, Coming::Later);
    }
    let bundles = chunk.image.table(Ffn, layer);
    io.will_read_records(&bundles, chunk.cache.hot(layer)..bundles.count, Coming::SomeLater);
}
