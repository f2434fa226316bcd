//! What a step takes, arm by arm: bytes of the arena, multiply-accumulates, bytes from the card. Measured
//! on a real step, and compared with what frameworks keep and compute.

use crate::common::{Lent, geometry};
use ripple_hal::{BlockCount, Slice};
use ripple_host_sim::import::{self, demo};
use ripple_host_sim::model::Model;
use ripple_host_sim::model::text::tokens;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::{Method, PlaceOptions, Placement, place};
use ripple_host_sim::predictor::PredictorChoice;
use ripple_host_sim::profile::record::record;
use ripple_kernel::Activation;
use ripple_kernel::image::Geometry;
use ripple_kernel::read::collapse::Extent;
use ripple_kernel::{Probe, Stage};
use ripple_tune::{
    Arms, AttentionTape, Choice, Elimination, FfnTape, InputTape, Keep, Store, Targets,
    TuneOptions, TunePlan, TuneRegion, Tuner,
};

/// Counts what is computed and read.
#[derive(Default)]
struct Meter {
    work: u64,
    blocks: u64,
}

impl Probe for Meter {
    fn extent(&mut self, _: Stage, extent: &Extent) {
        self.blocks += u64::from(extent.blocks.0);
    }

    fn compute(&mut self, _: Stage, count: u32) {
        self.work += u64::from(count);
    }
}

/// Later layers but the last keep 40 % of their blocks of 8.
fn eliminated(layers: u32, choice: Choice) -> Option<Elimination> {
    let (first, end) = (layers / 2, layers - 1);
    Some(Elimination { first, end, block: 8, keep_permille: 400, choice, keep: Keep::Share })
}

fn arms(layers: u32) -> Vec<(&'static str, Arms)> {
    let again = |store| Arms {
        attention: AttentionTape::Nothing,
        input: InputTape::Kept(store),
        ..Arms::EXACT
    };
    let half = AttentionTape::Kept { values: Store::Half, middle: Store::Half };
    let eights = AttentionTape::Kept { values: Store::Half, middle: Store::Bytes };
    let oracle = Choice::Oracle { causal: true, once: true };
    vec![
        ("plain", Arms::PLAIN),
        ("one read of the head", Arms::TILED),
        ("layer again", Arms::LAYER),
        ("exact", Arms::EXACT),
        ("exact, input recovered", Arms::RECOVERED),
        (
            "exact, 16 bits",
            Arms { attention: half, input: InputTape::Kept(Store::Half), ..Arms::EXACT },
        ),
        (
            "exact, 16 bits, both inputs 8",
            Arms { attention: eights, input: InputTape::Kept(Store::Bytes), ..Arms::EXACT },
        ),
        ("exact, attention again", again(Store::Full)),
        ("the same, input in 16 bits", again(Store::Half)),
        ("the same, input in 8 bits", Arms::LEAN),
        (
            "exact, latest blocks",
            Arms { elimination: eliminated(layers, Choice::Recency), ..Arms::EXACT },
        ),
        ("exact, scored blocks", Arms { elimination: eliminated(layers, oracle), ..Arms::EXACT }),
    ]
}

fn with(arms: Arms, tokens: u32) -> TuneOptions {
    TuneOptions {
        tokens,
        rank: 8,
        alpha: 16.0,
        targets: Targets::ALL,
        arms,
        window: 64,
        staging: BlockCount(64),
        ..TuneOptions::DEFAULT
    }
}

fn table(name: &str, count: u32) -> String {
    let folder = demo::path(name).unwrap();
    let model = Model::load(&folder).unwrap();
    let read = |file| tokens(&model, &std::fs::read_to_string(folder.join(file)).unwrap()).unwrap();
    // Frequent neurons first, on another text: those that are silent lie together.
    let trace = record(&model, "profile", &read("profile.txt")[..2048], &|_| ());
    let options = PlaceOptions { hot: vec![0; trace.layers()], ..PlaceOptions::default() };
    let placement = place(&trace, Method::Frequency, &options, &|_| ()).unwrap();
    let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
    let text = read("held-out.txt");
    let text = &text[..=count as usize];
    rows(name, &image, text, &arms(model.config.layers))
}

/// A row for each of `arms`: a step on `text`, all of it but the last label.
fn rows(name: &str, image: &[u8], text: &[u32], arms: &[(&'static str, Arms)]) -> String {
    let count = text.len() as u32 - 1;
    let mut table = format!(
        "{name}, {count} tokens, rank 8 of q, k, v, o\n{:<31}{:>9}{:>7}{:>9}{:>7}{:>9}{:>7}{:>8}\n",
        "", "arena KiB", "less", "M MAC", "fewer", "card KiB", "of", "loss"
    );
    let mut plain = None;
    let geometry = geometry(image);
    table += &in_16_bits(&geometry, count);
    for (arm, arms) in arms {
        let options = with(*arms, count);
        let bytes = TunePlan::for_model::<f32>(&geometry, &options).step_bytes();
        let mut lent = Lent::of::<f32>(&geometry, &options);
        let mut tuner = Tuner::<_, _, f32>::open(
            Slice::new(image),
            &[],
            lent.lend(),
            &options,
            Meter::default(),
        )
        .unwrap();
        tuner.begin(1);
        *tuner.probe_mut() = Meter::default();
        let loss = tuner.accumulate(text).unwrap();
        let Meter { work, blocks } = *tuner.probe_mut();
        let (all, most, read) = *plain.get_or_insert((bytes, work, blocks));
        let ratio = |a: u64, b: u64| a as f64 / b as f64;
        table += &format!(
            "{arm:<31}{:>9}{:>6.2}x{:>9}{:>6.2}x{:>9}{:>6.2}x{loss:>8.4}\n",
            bytes.div_ceil(1024),
            ratio(all, bytes),
            work / 1_000_000,
            ratio(most, work),
            blocks / 2,
            ratio(blocks, read),
        );
    }
    table
}

/// What `Arms::PLAIN` would take with its tape in 16 bits, logits and what is worked on in 32: what the arms in 16
/// bits are measured against where others count bytes of 16-bit training. Planned, no arm that runs.
fn in_16_bits(geometry: &Geometry, count: u32) -> String {
    let options = with(Arms::PLAIN, count);
    let plan = TunePlan::for_model::<f32>(geometry, &options);
    let tape =
        [TuneRegion::LayerInputs, TuneRegion::Attention, TuneRegion::Middle, TuneRegion::Values];
    let tape: u64 = tape.iter().map(|region| plan.region_bytes(*region)).sum();
    let (all, bytes) = (plan.step_bytes(), plan.step_bytes() - tape / 2);
    let ratio = all as f64 / bytes as f64;
    format!("{:<31}{:>9}{ratio:>6.2}x\n", "(plain, tape in 16 bits)", bytes.div_ceil(1024))
}

#[test]
fn story_nano() {
    insta::assert_snapshot!(table("story-nano", 256));
}

#[test]
#[ignore = "slow"]
fn novel_small() {
    insta::assert_snapshot!(table("novel-small", 256));
}

#[test]
#[ignore = "slow"]
fn novel_opt_and_novel_wide() {
    insta::assert_snapshot!(table("novel-opt", 256) + "\n" + &table("novel-wide", 256));
}

/// A model whose neurons are all active: nothing is skipped, records are read and computed again. A third party's,
/// which is not part of this project; `RIPPLE_TOKENS` of a step, 512 without it.
#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf (tests/fetch-smollm2.sh): RIPPLE_SMOLLM2"]
fn third_party_smollm2() {
    let path = std::env::var_os("RIPPLE_SMOLLM2").expect("RIPPLE_SMOLLM2 is set");
    let count = std::env::var("RIPPLE_TOKENS").map_or(512, |count| count.parse().unwrap());
    // The file does not say what its neurons do.
    let activation = Some((Activation::Silu, 0.0));
    let said = import::Options { activation, ..import::Options::default() };
    let mut model = import::import_with(path.as_ref(), &said).unwrap();
    model.limit_context(count).unwrap();
    let c = model.config;
    let placement = Placement::identity("third", c.layers as usize, c.neurons as usize);
    let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
    let novel =
        std::fs::read_to_string(demo::path("novel-opt").unwrap().join("held-out.txt")).unwrap();
    let text = tokens(&model, &novel).unwrap();
    let half = AttentionTape::Kept { values: Store::Half, middle: Store::Half };
    let (f16, bytes) = (InputTape::Kept(Store::Half), InputTape::Kept(Store::Bytes));
    let fused = Arms { ffn: FfnTape::Nothing, ..Arms::EXACT };
    let arms = [
        ("plain", Arms::PLAIN),
        ("fused, 16 bits", Arms { attention: half, input: f16, ..fused }),
        ("the same, attention again", Arms { input: f16, ..Arms::LAYER }),
        ("the same, input in 8 bits", Arms { input: bytes, ..Arms::LAYER }),
    ];
    let table = rows("SmolLM2-135M", &image, &text[..=count as usize], &arms);
    println!("{table}");
    // `less` and `fewer` of plain's row are 1: those of the fused arm are what is shown.
    let row = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        let times = line.split_whitespace().filter_map(|word| word.strip_suffix('x'));
        times.map(|times| times.parse().unwrap()).collect::<Vec<f64>>()
    };
    let (in_16_bits, fused) = (row("(plain, tape in 16 bits)")[0], row("fused, 16 bits"));
    assert!(fused[0] / in_16_bits >= 3.0 && 1.0 / fused[1] <= 1.3, "{table}");
}
