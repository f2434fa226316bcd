//! A tape that waits on the card: the same bits, and every operation of the card may fail once.

use crate::common::{Golden, Lent, OPTIONS, exact_arms, geometry, gradients};
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, OutOfRange, WriteDevice};
use ripple_hal::{DeviceError, Slice};
use ripple_kernel::StepError;
use ripple_tune::{
    Arms, AttentionTape, ColumnScore, Columns, FfnTape, InputTape, Rate, Store, TuneError,
    TuneOptions, TunePlan, Tuner,
};

/// A card with an image, and blocks behind it.
struct Card {
    blocks: Vec<Block>,
    image: u32,
    operations: usize,
    fail: Option<usize>,
    /// Damages what is written from this operation on.
    damage: Option<usize>,
}

impl Card {
    fn new(image: &[u8], room: u32) -> Self {
        let own = BlockCount::for_bytes(image.len() as u64).0;
        let mut blocks = vec![Block([0xC3; 512]); (own + room) as usize];
        Block::bytes_mut(&mut blocks)[..image.len()].copy_from_slice(image);
        Self { blocks, image: own, operations: 0, fail: None, damage: None }
    }

    fn operate(&mut self) -> Result<(), ErrorKind> {
        self.operations += 1;
        if self.fail == Some(self.operations) { Err(ErrorKind::Timeout) } else { Ok(()) }
    }
}

impl BlockDevice for Card {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount(self.blocks.len() as u32))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        self.operate()?;
        let blocks = BlockCount(self.blocks.len() as u32);
        OutOfRange::check(start, dst, blocks).map_err(|e| e.kind())?;
        dst.copy_from_slice(&self.blocks[start.0 as usize..][..dst.len()]);
        Ok(())
    }
}

impl WriteDevice for Card {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), ErrorKind> {
        assert!(start.0 >= self.image, "the image is written");
        let blocks = BlockCount(self.blocks.len() as u32);
        OutOfRange::check(start, src, blocks).map_err(|e| e.kind())?;
        self.operate()?;
        let to = &mut self.blocks[start.0 as usize..][..src.len()];
        to.copy_from_slice(src);
        if self.damage.is_some_and(|from| self.operations >= from) {
            to[0].0[7] ^= 1;
        }
        Ok(())
    }
}

fn spilled(arms: Arms) -> TuneOptions {
    TuneOptions { arms: Arms { spill: true, ..arms }, ..OPTIONS }
}

fn with_card<T>(
    image: &[u8],
    options: &TuneOptions,
    run: impl FnOnce(&mut Tuner<'_, &mut Card, (), f32>) -> T,
) -> T {
    let plan = TunePlan::for_model::<f32>(&geometry(image), options);
    let mut card = Card::new(image, plan.spill_blocks().0);
    let start = BlockIdx(card.image);
    let mut lent = Lent::of::<f32>(&geometry(image), options);
    let mut tuner = Tuner::open(&mut card, &[], lent.lend(), options, ()).unwrap();
    tuner.spill_to(start).unwrap();
    run(&mut tuner)
}

#[test]
fn where_the_tape_waits_changes_no_bit_and_the_arena_holds_less() {
    let columns = Columns { keep_permille: 400, score: ColumnScore::Slope, values: true };
    let half = AttentionTape::Kept { values: Store::Half, middle: Store::Bytes };
    let mut all = exact_arms();
    all.push(("columns", Arms { ffn: FfnTape::Columns(columns), ..Arms::TILED }));
    all.push(("lean", Arms::LEAN));
    all.push((
        "half",
        Arms { attention: half, input: InputTape::Kept(Store::Half), ..Arms::EXACT },
    ));
    for kind in ["relu", "opt", "silu"] {
        let golden = Golden::load(kind);
        let adapters = golden.adapters();
        for whole in [false, true] {
            let image = golden.image(whole);
            for (name, arms) in &all {
                let options = TuneOptions { arms: *arms, ..OPTIONS };
                let expected = gradients::<f32>(&image, &options, &adapters, &golden.tokens);
                let plan = TunePlan::for_model::<f32>(&geometry(&image), &options);
                let options = spilled(*arms);
                let less = TunePlan::for_model::<f32>(&geometry(&image), &options);
                assert!(less.bytes() < plan.bytes(), "{kind}, {name}");
                let found = with_card(&image, &options, |tuner| {
                    let adapters: Vec<f32> = adapters.iter().map(|x| *x as f32).collect();
                    assert!(tuner.set_adapters(&adapters));
                    let loss = tuner.accumulate(&golden.tokens).unwrap();
                    (loss, tuner.gradients()[..tuner.numbers()].to_vec())
                });
                assert!(found == expected, "{kind}, {name}, whole {whole}");
            }
        }
    }
}

#[test]
fn a_card_that_fails_loses_nothing() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let options = spilled(Arms::EXACT);
    let rate = Rate { rate: 0.01, clip: 1.0 };
    let (operations, expected) = with_card(&image, &options, |tuner| {
        tuner.begin(3);
        tuner.device_mut().operations = 0;
        tuner.step(&golden.tokens, rate).unwrap();
        (tuner.device_mut().operations, tuner.adapters().to_vec())
    });
    for fail in 1..=operations {
        with_card(&image, &options, |tuner| {
            tuner.begin(3);
            let before = tuner.adapters().to_vec();
            tuner.device_mut().operations = 0;
            tuner.device_mut().fail = Some(fail);
            let error = tuner.step(&golden.tokens, rate).unwrap_err();
            assert!(matches!(error, TuneError::Read(StepError::Device { .. })), "{fail}: {error}");
            assert_eq!(tuner.adapters(), before, "{fail}");
            tuner.step(&golden.tokens, rate).unwrap();
            assert_eq!(tuner.adapters(), expected, "{fail}");
        });
    }
    // What comes back damaged is noticed.
    with_card(&image, &options, |tuner| {
        tuner.device_mut().damage = Some(0);
        let error = tuner.step(&golden.tokens, rate).unwrap_err();
        assert!(matches!(error, TuneError::Read(StepError::Corrupt { .. })), "{error}");
    });
}

#[test]
fn without_room_nothing_is_tried() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let options = spilled(Arms::EXACT);
    let needed = TunePlan::for_model::<f32>(&geometry(&image), &options).spill_blocks().0;
    let mut lent = Lent::of::<f32>(&geometry(&image), &options);
    let mut tuner =
        Tuner::<_, _, f32>::open(Slice::new(&image), &[], lent.lend(), &options, ()).unwrap();
    let error = tuner.accumulate(&golden.tokens).unwrap_err();
    assert_eq!(error, TuneError::NoRoom { needed, given: 0 });

    let mut card = Card::new(&image, needed - 1);
    let start = BlockIdx(card.image);
    let mut lent = Lent::of::<f32>(&geometry(&image), &options);
    let mut tuner = Tuner::<_, _, f32>::open(&mut card, &[], lent.lend(), &options, ()).unwrap();
    let given = needed - 1;
    assert_eq!(tuner.spill_to(start), Err(TuneError::NoRoom { needed, given }));
    // Nor are the image's own blocks room.
    assert!(matches!(tuner.spill_to(BlockIdx(0)), Err(TuneError::NoRoom { .. })));
}
