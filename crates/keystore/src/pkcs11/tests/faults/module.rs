//! Tests of the fault module itself: each kind of rule, the journal, and the interfaces.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11},
    error::{Error, RvError},
    session::Session,
};

use super::*;

fn initialised(station: &FaultyToken) -> Pkcs11 {
    let module = Pkcs11::new(&station.library).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    module
}

fn session(module: &Pkcs11) -> Result<Session, Error> {
    module.open_ro_session(module.get_slots_with_initialized_token().unwrap()[0])
}

fn random(session: &Session) -> Result<(), RvError> {
    match session.generate_random_slice(&mut [0; 4]) {
        Err(Error::Pkcs11(value, Function::GenerateRandom)) => Err(value),
        Err(error) => panic!("{error:?}"),
        Ok(()) => Ok(()),
    }
}

#[test]
fn a_rule_fails_the_calls_that_it_names_before_or_after_the_real_one() {
    let station = FaultyToken::new();
    let module = initialised(&station);
    let session = session(&module).unwrap();
    let real = || station.journal().real_calls("C_GenerateRandom");
    let four = || (0..4).map(|_| random(&session)).collect::<Vec<_>>();
    assert_eq!((four(), real()), (vec![Ok(()); 4], 4), "without rules");
    let (gone, memory) = (Err(RvError::DeviceRemoved), Err(RvError::DeviceMemory));
    let expected = [
        ("C_GenerateRandom 2 before return CKR_DEVICE_REMOVED", [Ok(()), gone, Ok(()), Ok(())], 3),
        ("C_GenerateRandom 2 after return CKR_DEVICE_REMOVED", [Ok(()), gone, Ok(()), Ok(())], 4),
        ("C_GenerateRandom from 3 before return 0x32", [Ok(()), Ok(()), gone, gone], 2),
        ("C_GenerateRandom every after return 50", [gone; 4], 4),
        ("* every before return CKR_DEVICE_REMOVED", [gone; 4], 0),
        (
            "# two rules\n\nC_GenerateRandom 1 before return CKR_DEVICE_REMOVED\nC_GenerateRandom 3 after return CKR_DEVICE_MEMORY",
            [gone, Ok(()), memory, Ok(())],
            3,
        ),
        ("C_Sign every before return CKR_DEVICE_REMOVED", [Ok(()); 4], 4),
        ("", [Ok(()); 4], 4),
    ];
    for (rules, results, reached) in expected {
        let before = (real(), station.journal().calls("C_GenerateRandom"));
        station.set(rules);
        assert_eq!((four(), real() - before.0), (results.to_vec(), reached), "{rules}");
        assert_eq!(station.journal().calls("C_GenerateRandom") - before.1, 4, "{rules}");
        // The same rules again count from the first call.
        station.set(rules);
        assert_eq!(four(), results, "{rules}");
    }
    station.set("");
    drop(session);
    module.finalize().unwrap();
}

#[test]
fn a_call_is_delayed_or_hangs_until_it_is_released() {
    let station = FaultyToken::new();
    let module = initialised(&station);
    let session = session(&module).unwrap();
    station.set("C_GenerateRandom 1 before delay 40\nC_GenerateRandom 1 after delay 40");
    let since = Instant::now();
    assert_eq!(random(&session), Ok(()));
    assert!(since.elapsed() >= Duration::from_millis(80));

    let held = station.token.dir.path().join("held");
    std::fs::write(&held, "").unwrap();
    station.set(&format!("C_GenerateRandom 1 before hang until {}", held.display()));
    let other = module.clone();
    let before = station.journal();
    let waiting = std::thread::spawn(move || random(&super::module::session(&other).unwrap()));
    while station.journal().calls("C_GenerateRandom") == before.calls("C_GenerateRandom") {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(random(&session), Ok(()), "only the first call hangs");
    assert_eq!(station.journal().real_calls("C_GenerateRandom"), before.real_calls("C_GenerateRandom") + 1);
    assert!(!waiting.is_finished());
    std::fs::remove_file(&held).unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(()));
    drop(session);
    module.finalize().unwrap();
}

#[test]
fn a_crash_and_a_malformed_rule_end_the_process() {
    if let Some(rule) = std::env::var_os(ALONE) {
        let station = FaultyToken::new();
        let module = initialised(&station);
        // As a person would, without the check that the tests have.
        std::fs::write(station.fault.directory().join("rules"), rule.to_str().unwrap()).unwrap();
        let _ = random(&session(&module).unwrap());
        println!("still running: {:?}", station.journal().entries().last());
        return;
    }
    let test = "a_crash_and_a_malformed_rule_end_the_process";
    for rule in ["C_GenerateRandom 1 before crash", "C_GenerateRandom 1 after crash", "C_GenerateRandom 1 later crash"] {
        let done = alone(module_path!(), test, rule).output().unwrap();
        let output = String::from_utf8_lossy(&done.stdout);
        assert_eq!(done.status.signal(), Some(6), "{rule}: {output}");
    }
    let done = alone(module_path!(), test, "C_Sign 1 before crash").output().unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains("still running"), "{done:?}");
    let fault = FaultModule::create(tempfile::tempdir().unwrap().path(), std::path::Path::new("/module")).unwrap();
    for wrong in [
        "C_Sing 1 before crash",
        "C_Sign 1 before",
        "C_Sign x before crash",
        "C_Sign from before crash",
        "C_Sign 1 before return CKR_NOTHING",
        "C_Sign 1 before return",
        "C_Sign 1 before delay long",
        "C_Sign 1 before hang until",
        "C_Sign 1 before crash now",
    ] {
        assert_eq!(fault.set(wrong).map_err(|error| error.kind()), Err(std::io::ErrorKind::InvalidInput), "{wrong}");
    }
}

#[test]
fn sessions_that_a_caller_has_to_close_are_counted() {
    let station = FaultyToken::new();
    let module = initialised(&station);
    let [one, other, third] = [(); 3].map(|()| session(&module).unwrap());
    assert_eq!(station.journal().sessions(), 3);
    drop(one);
    assert_eq!(station.journal().sessions(), 2);
    station.set("C_GenerateRandom 1 before return CKR_SESSION_HANDLE_INVALID\nC_GenerateRandom 2 before return CKR_DEVICE_ERROR");
    assert_eq!((random(&other), random(&third)), (Err(RvError::SessionHandleInvalid), Err(RvError::DeviceError)));
    assert_eq!(station.journal().sessions(), 1, "one is gone, the other may be in order");
    station.set("C_OpenSession 1 after return CKR_SESSION_COUNT");
    assert!(matches!(session(&module), Err(Error::Pkcs11(RvError::SessionCount, _))));
    assert_eq!(station.journal().sessions(), 1, "nobody knows the session's number");
    module.finalize().unwrap();
    assert_eq!(station.journal().sessions(), 0);
    let _ = [other, third].map(std::mem::forget);
}

/// In a process of its own: the module wraps one real module in a process.
#[test]
fn a_module_of_version_3_is_wrapped_with_its_functions() {
    const SOFTOKN: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
    if !std::path::Path::new(SOFTOKN).is_file() {
        eprintln!("skipped: no NSS softokn (apt install libnss3)");
        return;
    }
    if std::env::var_os(ALONE).is_none() {
        let done = alone(module_path!(), "a_module_of_version_3_is_wrapped_with_its_functions", "yes").output().unwrap();
        assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("1 passed"), "{done:?}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let fault = FaultModule::create(directory.path(), std::path::Path::new(SOFTOKN)).unwrap();
    // SAFETY: this process runs this test only.
    unsafe { std::env::set_var(VARIABLE, fault.directory()) };
    let [wrapped, bare] = [FaultModule::library().unwrap(), SOFTOKN.into()].map(|path| Pkcs11::new(path).unwrap());
    for function in [Function::Sign, Function::MessageEncryptInit, Function::SessionCancel, Function::EncapsulateKey] {
        assert_eq!(wrapped.is_fn_supported(function), bare.is_fn_supported(function), "{function:?}");
    }
    assert!(wrapped.is_fn_supported(Function::MessageEncryptInit), "a function of version 3");
    fault.set("C_GetInfo every before return CKR_HOST_MEMORY").unwrap();
    assert!(matches!(wrapped.get_library_info(), Err(Error::Pkcs11(RvError::HostMemory, Function::GetInfo))));
    assert_eq!(fault.journal().unwrap().calls("C_GetInfo"), 1);
}
