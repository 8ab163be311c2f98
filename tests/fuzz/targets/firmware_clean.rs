//! `firmware clean` with any flags on anything: an error, or an image of the same size and the same bytes twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_mecheck::clean::{Options, clean};

fuzz_target!(|data: &[u8]| {
    let Some((flags, image)) = data.split_first() else { return };
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let options = Options {
        soft_disable: flag(0),
        relocate: flag(1),
        truncate: flag(2),
        keep_modules: flag(3),
        lock_descriptor: flag(4),
        whitelist: flag(5).then(|| vec!["MFS".into()]),
        extract_descriptor: flag(6),
        extract_me: flag(7),
        ..Options::default()
    };
    if let Ok(done) = clean(image, &options) {
        assert!(done.image.len() <= image.len() + 0x10000);
        assert_eq!(clean(image, &options).expect("it worked before").image, done.image);
    }
});
