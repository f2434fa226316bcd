//! See `boards/build`. Links with the shared `link.x` and this board's `memory.x`.

fn main() {
    ripple_board_build::prepare(&ripple_app::board::AST2600_EVB, None);
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
