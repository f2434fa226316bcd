//! Viridis: a scale of colours that is even to the eye, to the colour-blind, and in print.
//!
//! In: a share from 0 to 1. Out: a colour. Stéfan van der Walt and Nathaniel Smith, 2015.

use std::fmt::Write;

/// Ten colours of the scale, evenly spaced; in between, a straight line.
const VIRIDIS: [u32; 10] = [
    0x440154, 0x482878, 0x3e4989, 0x31688e, 0x26828e, 0x1f9e89, 0x35b779, 0x6ece58, 0xb5de2b,
    0xfde725,
];

/// The colour at `share` of the scale.
pub fn viridis(share: f64) -> [u8; 3] {
    let at = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (at as usize).min(VIRIDIS.len() - 2);
    let [_, low @ ..] = VIRIDIS[below].to_be_bytes().map(f64::from);
    let [_, high @ ..] = VIRIDIS[below + 1].to_be_bytes().map(f64::from);
    let mix = |c: usize| low[c] + (at - below as f64) * (high[c] - low[c]);
    [0, 1, 2].map(|channel| mix(channel).round() as u8)
}

/// CSS that gives each layer its colour: dark ones on white, light ones on black.
pub fn layer_style(layers: usize) -> String {
    let last = layers.saturating_sub(1).max(1) as f64;
    let rules = |from: f64, to: f64| {
        let mut css = String::new();
        for layer in 0..layers {
            let [r, g, b] = viridis(from + (to - from) * layer as f64 / last);
            let _ = writeln!(css, ".layer-{layer} {{ --c: #{r:02x}{g:02x}{b:02x}; }}");
        }
        css
    };
    let (light, dark) = (rules(0.0, 0.85), rules(0.35, 1.0));
    format!("{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n")
}

#[cfg(test)]
mod tests {
    use super::viridis;

    #[test]
    fn the_scale_begins_and_ends_with_its_colours() {
        assert_eq!(viridis(0.0), [0x44, 0x01, 0x54]);
        assert_eq!(viridis(1.0), [0xfd, 0xe7, 0x25]);
        assert_eq!(viridis(2.0), viridis(1.0));
    }
}
