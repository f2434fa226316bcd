//! Random models with gradients by automatic differentiation beside them, and tuners over their images.

use ripple_hal::{Block, BlockCount, Slice};
use ripple_host_sim::model::{Linear, Matrix, Model, NormWeights, Sparsity};
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::Activation;
use ripple_kernel::image::{Geometry, Header, Lossy, SectionKind};
use ripple_tests::tiny;
use ripple_tune::{Target, Targets, TuneMemory, TuneOptions, TunePlan, Tuner};
use safetensors::SafeTensors;
use std::path::Path;

/// Layers, kinds of models: what `tests/reference/tune.py` has.
pub const LAYERS: usize = 3;
pub const KINDS: [&str; 4] = ["relu", "opt", "silu", "gelu"];
/// All of a text's tokens but the last label.
pub const TOKENS: u32 = 21;
/// Adapters as the goldens have them.
pub const OPTIONS: TuneOptions = TuneOptions {
    tokens: TOKENS,
    rank: 2,
    alpha: 6.0,
    targets: Targets::ALL,
    window: 7,
    staging: BlockCount(8),
    ..TuneOptions::DEFAULT
};

/// One golden.
pub struct Golden {
    bytes: Vec<u8>,
    pub model: Model,
    pub tokens: Vec<u32>,
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let data = view.data();
    match view.dtype() {
        safetensors::Dtype::F32 => {
            data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
        }
        safetensors::Dtype::F64 => {
            data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
        }
        safetensors::Dtype::I8 => data.iter().map(|b| f64::from(*b as i8)).collect(),
        safetensors::Dtype::I32 => {
            data.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect()
        }
        other => panic!("{name}: {other:?}"),
    }
}

fn singles(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    floats(file, name).into_iter().map(|x| x as f32).collect()
}

fn rows(file: &SafeTensors<'_>, name: &str) -> Matrix {
    let (q, s) = (floats(file, &format!("{name}.q")), singles(file, &format!("{name}.s")));
    let cols = q.len() / s.len();
    let scale = s.iter().flat_map(|s| std::iter::repeat_n(*s, cols));
    let data = q.iter().zip(scale).map(|(q, s)| *q as f32 * s).collect::<Vec<_>>();
    Matrix::new(s.len(), cols, data)
}

impl Golden {
    pub fn load(kind: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let bytes = std::fs::read(path.join(format!("tune-{kind}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let opt = kind == "opt";
        let mut model = tiny::model(tiny::Shape {
            opt,
            dim: 16,
            layers: LAYERS as u32,
            neurons: 20,
            kv_heads: 2,
            head_dim: 8,
            tied_head: !opt,
            seed: 0,
            ..tiny::Shape::LLAMA
        });
        let bias = |name: &str| opt.then(|| singles(&file, &format!("{name}.bias")));
        let norm = |name: &str| NormWeights {
            weight: singles(&file, &format!("{name}.weight")),
            bias: bias(name),
        };
        let linear = |name: &str| Linear { weight: rows(&file, name), bias: bias(name) };
        model.embed = rows(&file, "embed");
        model.head = opt.then(|| rows(&file, "head"));
        model.positions = opt.then(|| rows(&file, "positions"));
        model.final_norm = norm("norm");
        for (l, layer) in model.layers.iter_mut().enumerate() {
            layer.attention_norm = norm(&format!("{l}.n1"));
            layer.ffn_norm = norm(&format!("{l}.n2"));
            layer.query = linear(&format!("{l}.q"));
            layer.key = linear(&format!("{l}.k"));
            layer.value = linear(&format!("{l}.v"));
            layer.output = linear(&format!("{l}.o"));
            layer.gate = (!opt).then(|| linear(&format!("{l}.gate")));
            layer.up = linear(&format!("{l}.up"));
            let down = rows(&file, &format!("{l}.down")).transposed();
            layer.down = Linear { weight: down, bias: bias(&format!("{l}.down")) };
        }
        if let Some(activation) = match kind {
            "silu" => Some(Activation::Silu),
            "gelu" => Some(Activation::GeluTanh),
            _ => None,
        } {
            model.config.activation = activation;
            let cost = Lossy { activity: 1.0, dense: 1.0, sparse: 1.0 };
            model.sparsity = Some(Sparsity { thresholds: vec![-1.0; LAYERS], cost });
        }
        let tokens = floats(&file, "tokens").into_iter().map(|t| t as u32).collect();
        Self { bytes, model, tokens }
    }

    /// The image, its bundles with all rows or without the predictor's.
    pub fn image(&self, whole: bool) -> Vec<u8> {
        let c = &self.model.config;
        let placement = Placement::identity("tiny", c.layers as usize, c.neurons as usize);
        let choice = if whole { PredictorChoice::ExactFullBundles } else { PredictorChoice::Exact };
        pack(&self.model, &placement, &choice, &[]).unwrap()
    }

    fn numbers(&self, prefix: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let mut all = Vec::new();
        for l in 0..LAYERS {
            for target in Target::ALL {
                for part in ["A", "B"] {
                    all.extend(floats(&file, &format!("{prefix}.{l}.{}.{part}", target.letter())));
                }
            }
        }
        all
    }

    pub fn adapters(&self) -> Vec<f64> {
        self.numbers("adapter")
    }

    /// The loss and the gradients: of `"grad"`, `"kept"`, `"length"` or `"slope"`.
    pub fn expected(&self, which: &str) -> (f64, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        (floats(&file, &format!("{which}.loss"))[0], self.numbers(which))
    }
}

/// Memory that a plan asks for, to the word.
pub struct Lent {
    pub arena: Vec<u64>,
    pub staging: Vec<Block>,
}

impl Lent {
    pub fn of<R>(geometry: &Geometry, options: &TuneOptions) -> Self {
        let plan = TunePlan::for_model::<R>(geometry, options);
        // What it held does not matter.
        Self { arena: vec![u64::MAX / 3; plan.arena()], staging: vec![Block::ZERO; plan.staging] }
    }

    pub fn lend(&mut self) -> TuneMemory<'_> {
        TuneMemory { arena: &mut self.arena, staging: &mut self.staging }
    }
}

pub fn header(image: &[u8]) -> Header {
    Header::parse(image).unwrap()
}

pub fn geometry(image: &[u8]) -> Geometry {
    header(image).geometry
}

/// Bytes of an image before its bundles.
pub fn before_bundles(image: &[u8]) -> usize {
    Header::parse(image).unwrap().section(SectionKind::Ffn).start.0 as usize * 512
}

/// A tuner over an image, with what `run` makes of it.
pub fn with_tuner<R: ripple_tune::Real, T>(
    image: &[u8],
    options: &TuneOptions,
    run: impl FnOnce(&mut Tuner<'_, Slice<'_>, (), R>) -> T,
) -> T {
    let mut lent = Lent::of::<R>(&geometry(image), options);
    let mut tuner = Tuner::open(Slice::new(image), &[], lent.lend(), options, ()).unwrap();
    run(&mut tuner)
}

/// The loss and the gradients of a text.
pub fn gradients<R: ripple_tune::Real>(
    image: &[u8],
    options: &TuneOptions,
    adapters: &[f64],
    tokens: &[u32],
) -> (R, Vec<R>) {
    with_tuner::<R, _>(image, options, |tuner| {
        let adapters: Vec<R> = adapters.iter().map(|x| R::wide(*x)).collect();
        assert!(tuner.set_adapters(&adapters));
        let loss = tuner.accumulate(tokens).unwrap();
        let numbers = tuner.numbers();
        (loss, tuner.gradients()[..numbers].to_vec())
    })
}

/// Every way to keep the forward pass that loses nothing.
pub fn exact_arms() -> Vec<(&'static str, ripple_tune::Arms)> {
    use ripple_tune::{Arms, AttentionTape, FfnTape, InputTape, Store};
    let again = Arms {
        attention: AttentionTape::Nothing,
        input: InputTape::Kept(Store::Full),
        ..Arms::EXACT
    };
    let fused = Arms { ffn: FfnTape::Nothing, ..Arms::TILED };
    vec![
        ("plain", Arms::PLAIN),
        ("tiled", Arms::TILED),
        ("exact", Arms::EXACT),
        ("fused", fused),
        ("recovered", Arms::RECOVERED),
        ("again", again),
        ("layer", Arms::LAYER),
    ]
}
