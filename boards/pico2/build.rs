//! See `boards/build`.

fn main() {
    if std::env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
    }
    ripple_board_build::prepare(&ripple_app::board::PICO2, None);
}
