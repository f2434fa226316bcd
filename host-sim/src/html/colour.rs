//! Viridis: a scale of colours that is even to the eye, to the colour-blind, and in print.
//!
//! In: a share from 0 to 1. Out: a colour. Stéfan van der Walt and Nathaniel Smith, 2015.

use std::fmt::Write;

/// Ten colours of the scale, evenly spaced; in between, a straight line.
const VIRIDIS: [[u8; 3]; 10] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x28, 0x78],
    [0x3e, 0x49, 0x89],
    [0x31, 0x68, 0x8e],
    [0x26, 0x82, 0x8e],
    [0x1f, 0x9e, 0x89],
    [0x35, 0xb7, 0x79],
    [0x6e, 0xce, 0x58],
    [0xb5, 0xde, 0x2b],
    [0xfd, 0xe7, 0x25],
];

/// The colour at `share` of the scale.
pub fn viridis(share: f64) -> [u8; 3] {
    let at = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (at as usize).min(VIRIDIS.len() - 2);
    let part = at - below as f64;
    let mix = |channel: usize| {
        let [low, high] = [below, below + 1].map(|stop| f64::from(VIRIDIS[stop][channel]));
        (low + part * (high - low)).round() as u8
    };
    [mix(0), mix(1), mix(2)]
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
