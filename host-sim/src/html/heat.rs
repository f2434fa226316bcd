//! A matrix as a picture: one pixel a cell, as PNG in a data URI.
//!
//! In: a [`Matrix`], what is white-hot. Out: a drawing. Knows nothing of activations.

use super::colour::viridis;
use crate::plot::{Axis, Drawing, Plot};
use crate::study::Matrix;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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
pub fn draw(matrix: &Matrix, neurons: usize, brightest: f32) -> Result<Drawing> {
    let axis = || Axis::count("slot on the card", neurons);
    let pixel = |value: &Option<f32>| match value {
        Some(value) => 1 + (254.0 * (value / brightest).clamp(0.0, 1.0)).round() as u8,
        None => NOTHING,
    };
    let pixels: Vec<u8> = matrix.values.iter().map(pixel).collect();
    let mut plot = Plot::square(axis(), axis().reversed());
    plot.picture(&png(matrix.cells, &pixels)?);
    let scale = png(255, &(1..=255).collect::<Vec<u8>>())?;
    Ok(plot.with_scale(&scale, ["0: never together", &format!("{brightest:.2} and more")]))
}

/// Pixels, `width` a row, 1 to 255 the scale of colours.
fn png(width: usize, pixels: &[u8]) -> Result<String> {
    let mut out = Vec::new();
    let height = pixels.len() / width.max(1);
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let colours = (0..=255_u8).map(|at| viridis(f64::from(at.saturating_sub(1)) / 254.0));
    encoder.set_palette(colours.flatten().collect::<Vec<u8>>());
    encoder.set_trns(vec![0]);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(out)))
}
