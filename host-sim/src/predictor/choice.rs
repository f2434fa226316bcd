//! How an image will let the board find its active neurons, and what that makes of its geometry.
//!
//! In: a model and a choice. Out: the geometry. Knows nothing of how a predictor is trained.

use super::low_rank::LowRank;
use super::signs::Thresholds;
use crate::model::Model;
use ripple_hal::BlockCount;
use ripple_kernel::image::{Bundle, Geometry, Predictor, Quant, Quants, SectionKind};

/// How active neurons will be found on the board.
#[derive(Clone, Debug)]
pub enum PredictorChoice {
    /// First-layer rows held apart, and left out of the bundles.
    Exact,
    /// First-layer rows held apart, and in the bundles too.
    ExactFullBundles,
    /// Signs of the first-layer rows, with calibrated thresholds.
    Signs(Thresholds),
    /// A low-rank approximation of the first-layer rows, with calibrated thresholds.
    LowRank(LowRank),
}

/// How a model is stored.
#[derive(Clone, Copy)]
pub struct Format<'a> {
    /// How active neurons will be found.
    pub predictor: &'a PredictorChoice,
    /// The number format of each section's weights. The rows of a low-rank predictor are few, and stay
    /// in 8 bits whatever it says.
    pub quants: Quants,
    /// The sections in their order; those that the image does not need are left out.
    pub order: &'a [SectionKind],
}

impl<'a> Format<'a> {
    /// The standard order, with the weights of each section as `quants` says.
    pub const fn new(predictor: &'a PredictorChoice, quants: Quants) -> Self {
        Self { predictor, quants, order: &SectionKind::ALL }
    }

    /// The geometry an image of `model` will have.
    pub fn geometry(&self, model: &Model) -> Geometry {
        let config = model.config;
        let (whole, mut quants) = (Bundle::whole(config.ffn), self.quants);
        let (bundle, predictor) = match self.predictor {
            PredictorChoice::Exact => (Bundle::without_first(config.ffn), Predictor::Exact),
            PredictorChoice::ExactFullBundles => (whole, Predictor::Exact),
            PredictorChoice::Signs(t) => (whole, Predictor::Signs { planes: t.planes }),
            PredictorChoice::LowRank(t) => {
                quants = quants.with(&[SectionKind::Predictor], Quant::Q8);
                (whole, Predictor::LowRank { rank: t.rank })
            }
        };
        Geometry { config, bundle, predictor, quants, page_blocks: BlockCount(0) }
    }
}

/// The geometry an image of `model` will have, all rows in 8 bits.
pub fn geometry(model: &Model, predictor: &PredictorChoice) -> Geometry {
    Format::new(predictor, Quants::Q8).geometry(model)
}
