//! A matrix as a picture: one pixel a cell, as PNG in a data URI.
//!
//! In: a [`Matrix`], what is white-hot. Out: a drawing. Knows nothing of activations.

use super::axes::WIDTH;
use super::colour::viridis;
use crate::bench::svg::{Anchor, Svg};
use crate::study::Matrix;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const LEFT: f64 = 60.0;
const SIDE: f64 = 366.0;
const TOP: f64 = 8.0;
/// Place in the palette of cells without a value.
const NOTHING: u8 = 0;

/// The value that is as bright as it gets: above it are 2 in 1000 cells of all matrices.
pub fn brightest(matrices: &[Matrix]) -> f32 {
    let mut values: Vec<f32> =
        matrices.iter().flat_map(|matrix| matrix.values.iter().flatten().copied()).collect();
    values.sort_by(f32::total_cmp);
    let at = values.len().saturating_sub(1) * 998 / 1000;
    values.get(at).copied().filter(|value| *value > 0.0).unwrap_or(1.0)
}

/// The matrix, its axes in neurons, and the scale of its colours.
pub fn draw(matrix: &Matrix, neurons: usize, brightest: f32, title: &str) -> Result<String> {
    let mut svg = Svg::default();
    let (right, bottom) = (LEFT + SIDE, TOP + SIDE);
    svg.image((LEFT, TOP), SIDE, SIDE, &uri(&png(matrix, brightest)?));
    let step = (neurons / 4).max(1);
    for slot in (0..=neurons).step_by(step) {
        let at = SIDE * slot as f64 / neurons as f64;
        svg.line("axis", (LEFT + at, bottom), (LEFT + at, bottom + 4.0));
        svg.text("tick", Anchor::Middle, (LEFT + at, bottom + 17.0), &slot.to_string());
        svg.line("axis", (LEFT - 4.0, TOP + at), (LEFT, TOP + at));
        svg.text("tick", Anchor::End, (LEFT - 7.0, TOP + at + 4.0), &slot.to_string());
    }
    svg.text("label", Anchor::Middle, (LEFT + SIDE / 2.0, bottom + 34.0), "slot on the card");
    svg.upright("label", (14.0, TOP + SIDE / 2.0), "slot on the card");
    let scale = bottom + 50.0;
    svg.image((LEFT, scale), SIDE, 10.0, &uri(&ramp()?));
    svg.text("tick", Anchor::Start, (LEFT, scale + 24.0), "0: never together");
    let most = format!("{brightest:.2} and more");
    svg.text("tick", Anchor::End, (right, scale + 24.0), &most);
    let about = format!(
        "{} by {} cells of {} neurons each way",
        matrix.cells, matrix.cells, matrix.neurons_per_cell
    );
    Ok(svg.inline(WIDTH, scale + 32.0, title, &about))
}

/// The cells of the matrix, 1 to 255 the scale.
fn png(matrix: &Matrix, brightest: f32) -> Result<Vec<u8>> {
    let pixel = |value: &Option<f32>| match value {
        Some(value) => 1 + (254.0 * (value / brightest).clamp(0.0, 1.0)).round() as u8,
        None => NOTHING,
    };
    let pixels: Vec<u8> = matrix.values.iter().map(pixel).collect();
    encode(matrix.cells as u32, matrix.cells as u32, &pixels)
}

/// The scale of colours, left to right.
fn ramp() -> Result<Vec<u8>> {
    let pixels: Vec<u8> = (1..=255).collect();
    encode(255, 1, &pixels)
}

fn encode(width: u32, height: u32, pixels: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let colours = (0..=255_u8).map(|at| viridis(f64::from(at.saturating_sub(1)) / 254.0));
    encoder.set_palette(colours.flatten().collect::<Vec<u8>>());
    encoder.set_trns(vec![0]);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(out)
}

fn uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
