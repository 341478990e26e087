//! Bytes written by hand from the format's description, and what they must read as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use kho_core::{Entry, Handover};
use kho_luo::Luo;
use kho_luo::v5::{FileSer, FlbHeaderSer, FlbSer, LuoSer, SessionSer};
use kho_mem::PhysAddr;
use kho_testkit::{Builder, MemfdSpec};
use zerocopy::{FromBytes, IntoBytes};

#[rustfmt::skip]
const LUO: [u8; 32] = [
    b'l', b'u', b'o', b'-', b'v', b'5', 0x00, 0x00, // compatible, padded to 8
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // liveupdate_num: 1
    0x00, 0x10, 0xfe, 0x01, 0x00, 0x00, 0x00, 0x00, // sessions_pa: 0x1fe1000
    0x00, 0x90, 0xed, 0x01, 0x00, 0x00, 0x00, 0x00, // flbs_pa: 0x1ed9000
];

#[test]
fn a_header_reads_as_what_it_says() {
    let ser = LuoSer::ref_from_bytes(&LUO).unwrap();
    assert_eq!(&ser.compatible, b"luo-v5\0\0");
    assert_eq!(ser.liveupdate_num.get(), 1);
    assert_eq!(
        (ser.sessions_pa.get(), ser.flbs_pa.get()),
        (0x1fe_1000, 0x1ed_9000)
    );
    assert_eq!(ser.as_bytes(), LUO);
}

#[test]
fn a_session_reads_as_what_it_says() {
    let mut bytes = [0u8; 80];
    bytes[..3].copy_from_slice(b"vm7"); // name: 64 bytes, NUL-padded
    bytes[64..72].copy_from_slice(&[0x00, 0x50, 0, 0, 0, 0, 0, 0]); // files: the block at 0x5000
    bytes[72] = 4; // count: 4
    let ser = SessionSer::ref_from_bytes(&bytes).unwrap();
    assert_eq!(&ser.name[..4], b"vm7\0");
    assert_eq!(
        (ser.file_set_ser.files.get(), ser.file_set_ser.count.get()),
        (0x5000, 4)
    );
}

#[test]
fn a_file_reads_as_what_it_says() {
    let mut bytes = [0u8; 64];
    bytes[..8].copy_from_slice(b"memfd-v2"); // compatible: 48 bytes, NUL-padded
    bytes[48..56].copy_from_slice(&[0x00, 0xf0, 0xf7, 0x01, 0, 0, 0, 0]); // data: 0x1f7f000
    bytes[56..].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]); // token: 0x1_0000_0001
    let ser = FileSer::ref_from_bytes(&bytes).unwrap();
    assert_eq!(&ser.compatible[..9], b"memfd-v2\0");
    assert_eq!(
        (ser.data.get(), ser.token.get()),
        (0x1f7_f000, 0x1_0000_0001)
    );
}

#[test]
fn the_flb_area_reads_as_what_it_says() {
    let header = [1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]; // pgcnt: 1, count: 3
    let header = FlbHeaderSer::ref_from_bytes(&header).unwrap();
    assert_eq!((header.pgcnt.get(), header.count.get()), (1, 3));
    let mut bytes = [0u8; 64];
    bytes[..22].copy_from_slice(b"liveupdate-test-flb-v0"); // name: 48 bytes, NUL-padded
    bytes[48..56].copy_from_slice(&[0xe0, 0xbe, 0xfe, 0xca, 0x0d, 0xf0, 0xed, 0xfe]); // data
    bytes[56] = 12; // count: 12 files
    let ser = FlbSer::ref_from_bytes(&bytes).unwrap();
    assert_eq!(
        (ser.data.get(), ser.count.get()),
        (0xfeed_f00d_cafe_bee0, 12)
    );
}

fn luo(b: Builder) -> Luo {
    let built = b.finish();
    let handover = Handover::open(&built.mem, Entry::new(PhysAddr::new(built.fdt))).unwrap();
    let mut reading = handover.reading().unwrap();
    Luo::read(
        &handover,
        &mut reading,
        kho_luo::Registry::linked().unwrap(),
    )
    .unwrap()
    .unwrap()
}

#[test]
fn the_header_grows_with_its_string() {
    for (compatible, size) in [("luo-v5", 32), ("luo-v5;block-v1", 40)] {
        let mut b = Builder::new();
        b.luo_compatible = compatible.into();
        b.session_of("one", &[MemfdSpec::new(vec![1; 10])]);
        b.session_of("two", &[]);
        let luo = luo(b);
        assert_eq!(luo.compatible(), compatible);
        let body = luo.body().unwrap();
        assert_eq!(body.sessions().len(), 2, "a header of {size} bytes");
        assert_eq!(body.sessions()[0].files()[0].token, 1.into());
        assert_eq!(body.sessions()[1].file_blocks(), 0);
    }
}

#[test]
fn names_are_bytes_and_show_as_text() {
    let mut b = Builder::new();
    b.session(b"na\xffme\n", &[]);
    b.session("größe".as_bytes(), &[]);
    b.session(&[b'x'; 63], &[]);
    b.session("a\u{202e}b".as_bytes(), &[]);
    let luo = luo(b);
    let names: Vec<_> = luo
        .body()
        .unwrap()
        .sessions()
        .iter()
        .map(|s| s.name().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "na\\xffme\\n".to_owned(),
            "größe".to_owned(),
            "x".repeat(63),
            "a\\xe2\\x80\\xaeb".to_owned()
        ]
    );
}
