//! Which of the server's codes blame what was written.

use super::*;

#[test]
fn contract_3_7_only_codes_that_blame_the_content_refuse_it() {
    for code in [2, 9, 14, 22, 121, 10_334, 17_280, 17_419, 17_420] {
        let error = Failure::Statement(code).uncommitted();
        assert!(matches!(error, Error::Refused { .. }), "{code}: {error}");
    }
    for code in [112, 11_000] {
        let error = Failure::Statement(code).uncommitted();
        assert!(
            matches!(error, Error::Conflict(Conflict::Contention)),
            "{code}: {error}"
        );
    }
    // Unauthorized, UserWritesBlocked, Atlas's own code, throttling elsewhere, codes not yet given out.
    let others = [
        1, 6, 7, 8, 11, 13, 18, 20, 24, 26, 50, 59, 64, 66, 72, 79, 89, 91, 96, 100, 112_000, 133,
        134, 146, 189, 202, 211, 225, 246, 251, 262, 263, 290, 334, 359, 365, 371, 391, 462, 8_000,
        9_001, 10_058, 10_107, 11_600, 11_601, 11_602, 12_501, 13_297, 13_435, 13_436, 14_031,
        16_500, 999_999,
    ];
    for code in others {
        let error = Failure::Statement(code).uncommitted();
        assert!(
            matches!(error, Error::Unavailable { .. }),
            "{code}: {error}"
        );
    }
    for code in [2, 79, 100] {
        let error = Failure::WriteConcern(code).uncommitted();
        assert!(
            matches!(error, Error::Unavailable { .. }),
            "{code}: {error}"
        );
    }
}

#[test]
fn what_the_driver_refuses_to_send_is_refused_and_what_it_cannot_read_is_not() {
    let refused = DriverError::from(std::io::Error::other("reset"));
    assert!(matches!(
        Failure::from(refused).uncommitted(),
        Error::Unavailable { .. }
    ));
    let unreadable = mongodb::bson::deserialize_from_slice::<Document>(&[1, 2, 3]);
    let unreadable = DriverError::from(unreadable.expect_err("no document"));
    assert!(matches!(
        Failure::from(unreadable).uncommitted(),
        Error::Unavailable { .. }
    ));
    let unsayable = mongodb::bson::serialize_to_bson(&u64::MAX).expect_err("no BSON integer");
    assert!(matches!(
        Failure::from(DriverError::from(unsayable)).uncommitted(),
        Error::Refused { .. }
    ));
}
