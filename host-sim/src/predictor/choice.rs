//! How an image will let the board find its active neurons, and what that makes of its geometry.
//!
//! In: a model and a choice. Out: the geometry. Knows nothing of how a predictor is trained.

use super::low_rank::LowRank;
use super::signs::Thresholds;
use crate::model::Model;
use ripple_hal::BlockCount;
use ripple_kernel::image::{Bundle, FourBits, Geometry, Predictor};

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
    /// Which rows have 4 bits a number; the others have 8.
    pub four_bits: FourBits,
}

impl Format<'_> {
    /// The geometry an image of `model` will have.
    pub fn geometry(&self, model: &Model) -> Geometry {
        let (bundle, predictor) = match self.predictor {
            PredictorChoice::Exact => (Bundle::Rest, Predictor::Exact),
            PredictorChoice::ExactFullBundles => (Bundle::Full, Predictor::Exact),
            PredictorChoice::Signs(t) => (Bundle::Full, Predictor::Signs { planes: t.planes }),
            PredictorChoice::LowRank(t) => (Bundle::Full, Predictor::LowRank { rank: t.rank }),
        };
        let (config, four_bits) = (model.config, self.four_bits);
        Geometry { config, bundle, predictor, four_bits, page_blocks: BlockCount(0) }
    }
}

/// The geometry an image of `model` will have, all rows in 8 bits.
pub fn geometry(model: &Model, predictor: &PredictorChoice) -> Geometry {
    Format { predictor, four_bits: FourBits::NONE }.geometry(model)
}
