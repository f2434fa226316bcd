//! The families that this build compiles in, and what of a model it computes for them.
//!
//! In: the features, and a [`ModelConfig`]. Out: the feature that a model lacks; the variants that are
//! computed, which the compiler knows where a single family is there. Knows nothing of shapes.

use crate::config::{Activation, Ffn, ModelConfig, Norm, Position, Variant};

/// What each family's feature compiles in: the one place that says so.
///
/// Where a single family is compiled in, its variants are what the model has: the header was refused if
/// they are others, and the compiler drops the code for the others.
macro_rules! families {
    ($($feature:literal: $($field:ident = $type:ident::$variant:ident),*;)*) => {
        /// Families that are compiled in.
        const COMPILED: u32 = 0 $(+ cfg!(feature = $feature) as u32)*;

        /// A family's variants.
        struct Family {
            norm: Norm,
            position: Position,
            ffn: Ffn,
        }

        impl Family {
            const ALL: &[(bool, Self)] =
                &[$((cfg!(feature = $feature), Self { $($field: $type::$variant),* })),*];

            /// The one that is compiled in, where there is one alone.
            const ALONE: Option<&Self> = {
                let mut found = None;
                let mut rest = Self::ALL;
                while let [(there, family), more @ ..] = rest {
                    if *there && COMPILED == 1 {
                        found = Some(family);
                    }
                    rest = more;
                }
                found
            };
        }

        impl ModelConfig {
            /// The feature of this crate that the model needs and this build lacks.
            pub const fn missing_feature(&self) -> Option<&'static str> {
                $(
                    if !cfg!(feature = $feature)
                        && ($(self.$field as u8 == $type::$variant as u8)||*)
                    {
                        return Some($feature);
                    }
                )*
                if !matches!(self.activation, Activation::Relu) && !GATED {
                    return Some("gated");
                }
                if self.variant.any() && !VARIANTS { Some("variants") } else { None }
            }
        }
    };
}

// No two share a variant. A family that only mixes these needs no row and no feature.
families! {
    "llama": norm = Norm::Rms, position = Position::Rope, ffn = Ffn::Gated;
    "opt": norm = Norm::Layer, position = Position::Learned, ffn = Ffn::Plain;
}

const GATED: bool = cfg!(feature = "gated");
pub(super) const VARIANTS: bool = cfg!(feature = "variants");

impl ModelConfig {
    /// The normalisation that this build computes.
    pub(crate) const fn norm(&self) -> Norm {
        match Family::ALONE {
            Some(family) => family.norm,
            None => self.norm,
        }
    }

    /// The positions that this build computes.
    pub(crate) const fn position(&self) -> Position {
        match Family::ALONE {
            Some(family) => family.position,
            None => self.position,
        }
    }

    /// The neurons that this build computes.
    pub(crate) const fn ffn(&self) -> Ffn {
        match Family::ALONE {
            Some(family) => family.ffn,
            None => self.ffn,
        }
    }

    /// The activation that this build computes.
    pub(crate) const fn activation(&self) -> Activation {
        if GATED { self.activation } else { Activation::Relu }
    }

    /// The variant that this build computes.
    pub(crate) const fn variant(&self) -> Variant {
        if VARIANTS { self.variant } else { Variant::NONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AttentionBias;

    fn model(norm: Norm, position: Position, ffn: Ffn) -> ModelConfig {
        ModelConfig {
            dim: 8,
            layers: 1,
            neurons: 4,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab: 10,
            context: 16,
            norm,
            norm_eps: 1e-5,
            position,
            ffn,
            activation: Activation::Relu,
            variant: Variant::NONE,
            attention_bias: AttentionBias::NONE,
            ffn_bias: false,
            tied_head: true,
            threshold: 0.0,
        }
    }

    #[test]
    fn a_model_names_the_feature_that_is_missing() {
        let llama = model(Norm::Rms, Position::Rope, Ffn::Gated);
        let opt = model(Norm::Layer, Position::Learned, Ffn::Plain);
        let both = model(Norm::Rms, Position::Learned, Ffn::Gated);
        let needs = |feature, there: bool| (!there).then_some(feature);
        assert_eq!(llama.missing_feature(), needs("llama", cfg!(feature = "llama")));
        assert_eq!(opt.missing_feature(), needs("opt", cfg!(feature = "opt")));
        assert_eq!(
            both.missing_feature(),
            needs("llama", cfg!(feature = "llama")).or(needs("opt", cfg!(feature = "opt")))
        );
        // What is compiled in is what runs.
        if cfg!(feature = "llama") {
            assert_eq!((llama.norm(), llama.bundle_rows()), (Norm::Rms, 3));
        }
        if cfg!(feature = "opt") {
            assert_eq!((opt.norm(), opt.bundle_rows()), (Norm::Layer, 2));
        }
    }
}
