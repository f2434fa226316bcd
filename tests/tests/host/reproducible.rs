//! The same inputs give the same bytes of an image, whatever the machine, its word, and the threads it has.

use ripple_host_sim::import::{demo, import};
use ripple_host_sim::pack::{pack, pack_as};
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::{Format, PredictorChoice};
use ripple_kernel::image::Quants;
use ripple_tests::arbitrary::{paged_image, pages};
use ripple_tests::tiny::Shape;

/// FNV-1a of 64 bits: Fowler, Noll, Vo.
fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, fold)
}

/// Written down on x86-64 Linux. Where they change with the format or the demo model, the commit says so.
const STORY: u64 = 0xE7EF_C963_5C1A_DDC9;
const PAGED: u64 = 0x4453_EA2D_92C7_94CC;

#[test]
fn an_image_has_the_bytes_that_it_had_elsewhere() {
    let model = import(&demo::path("story-nano").unwrap()).unwrap();
    let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
    let placement = Placement::identity(&model.name, layers, neurons);
    let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let format = Format::new(&PredictorChoice::Exact, Quants::Q8);
    let again = alone.install(|| pack_as(format, &model, &placement, &[])).unwrap();
    assert!(image == again, "one thread packs other bytes");
    let paged =
        paged_image(Shape::OPT, &PredictorChoice::Exact, &[3], pages(Shape::OPT, &[1, 2], 1));
    let found = [hash(&image), hash(&paged)];
    assert_eq!(
        found.map(|hash| format!("{hash:#018X}")),
        [STORY, PAGED].map(|hash| format!("{hash:#018X}"))
    );
}
