//! Arrays of NumPy: read as numbers, written as floats or integers.
//!
//! In: bytes of a `.npy` file. Out: a shape and numbers, or what is not understood. Arrays are in C order.

use anyhow::{Context, Result, bail, ensure};

/// An array.
pub struct Array {
    /// Extents.
    pub shape: Vec<usize>,
    /// Numbers, the last dimension contiguous.
    pub numbers: Vec<f64>,
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// What stands behind `key` in a header.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let rest = header.split_once(&format!("'{key}':"))?.1.trim_start();
    match rest.strip_prefix('(') {
        Some(tuple) => tuple.split_once(')').map(|(inside, _)| inside),
        None => rest.split([',', '}']).next().map(|value| value.trim().trim_matches('\'')),
    }
}

/// Reads an array of floats or integers.
///
/// # Errors
/// What was expected and what was found.
pub fn read(bytes: &[u8]) -> Result<Array> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        bail!("expected a NumPy array (.npy), found other bytes; write one with numpy.save");
    };
    let (header, data) = match rest {
        [1, _, a, b, rest @ ..] => rest.split_at_checked(u16::from_le_bytes([*a, *b]).into()),
        [2 | 3, _, a, b, c, d, rest @ ..] => {
            rest.split_at_checked(u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => None,
    }
    .context("expected a NumPy array of version 1 to 3, cut short or of another")?;
    let header = String::from_utf8_lossy(header);
    let kind = field(&header, "descr").context("the array's header has no descr")?;
    let order = field(&header, "fortran_order").unwrap_or("False");
    ensure!(
        order == "False",
        "expected an array in C order, found Fortran's; numpy.ascontiguousarray helps"
    );
    let shape = field(&header, "shape").context("the array's header has no shape")?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let shape: Vec<usize> = extents
        .map(|extent| extent.parse().with_context(|| format!("an extent of {extent}")))
        .collect::<Result<_>>()?;
    let numbers: Vec<f64> = match kind {
        "<f4" => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
        "<f8" => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        "|i1" => data.iter().map(|&b| f64::from(b as i8)).collect(),
        "|u1" => data.iter().map(|&b| f64::from(b)).collect(),
        "<i2" => data.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b).into()).collect(),
        "<i4" => data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
        "<i8" => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        other => {
            bail!("expected an array of floats or integers, found {other}; numpy's astype helps")
        }
    };
    let expected = shape.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent));
    ensure!(
        expected == Some(numbers.len()),
        "shape {shape:?} does not fit {} numbers",
        numbers.len()
    );
    Ok(Array { shape, numbers })
}

/// The bytes of an array: 32-bit integers where they are whole, else 32-bit floats.
pub fn write(shape: &[usize], numbers: &[f64], whole: bool) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let kind = if whole { "<i4" } else { "<f4" };
    let mut header =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({extents}), }}");
    // Numbers begin on a boundary of 64 bytes.
    let length = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    header.push_str(&" ".repeat(length - header.len() - 1));
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), header.as_bytes()].concat();
    for &x in numbers {
        bytes.extend(if whole { (x as i32).to_le_bytes() } else { (x as f32).to_le_bytes() });
    }
    bytes
}

/// Numbers of images with channels before rows, as rows of pixels with their channels; and back.
pub fn images(shape: &[usize], numbers: &[f64], to_file: bool) -> Vec<f64> {
    let &[n, c, h, w] = shape else { return numbers.to_vec() };
    let mut out = vec![0.0; numbers.len()];
    for image in 0..n {
        for channel in 0..c {
            for pixel in 0..h * w {
                let file = (image * c + channel) * h * w + pixel;
                let network = (image * h * w + pixel) * c + channel;
                let (from, to) = if to_file { (network, file) } else { (file, network) };
                if let (Some(to), Some(&from)) = (out.get_mut(to), numbers.get(from)) {
                    *to = from;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_comes_back() {
        for (whole, numbers) in [(true, vec![1.0, -2.0, 3.0]), (false, vec![0.5, -1.25, 2.0])] {
            let array = read(&write(&[1, 3], &numbers, whole)).unwrap();
            assert_eq!((array.shape, array.numbers), (vec![1, 3], numbers));
        }
        assert!(read(b"\x93NUMPY\x01").is_err() && read(b"text").is_err());
    }

    #[test]
    fn images_come_back() {
        let numbers: Vec<f64> = (0..2 * 3 * 4 * 5).map(f64::from).collect();
        let there = images(&[2, 3, 4, 5], &numbers, false);
        assert_eq!(there[..4], [0.0, 20.0, 40.0, 1.0]);
        assert_eq!(images(&[2, 3, 4, 5], &there, true), numbers);
    }
}
