//! See `boards/build`.

fn main() {
    ripple_board_build::prepare(&ripple_app::board::MPS3_AN547, Some(".mapped"));
}
