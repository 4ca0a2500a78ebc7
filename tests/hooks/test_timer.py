"""TimerHook: how long things take."""


def test_times_and_lines_are_nncores(reference, ours):
    assert ours('timing') == reference['timing']


def test_times_add_up(ours):
    result = ours('timing')
    # Three epochs of five iterations of 1/8 s, batches that come after 1/16 s, 40 s in a hook.
    assert result['times']['_train_time'][-1] == 15 * 0.125
    assert result['times']['_val_time'][-1] == 15 * 0.125
    assert result['times']['_iter_time'] == [0.125] * 30
    assert result['times']['_data_time'][:5] == [0.0625] * 5
    assert result['lines'] == [
        'INFO: Overall training speed: 15 iterations in 0:00:01 (0.1250 s/it)',
        'INFO: Done running in 0:02:04 (0:02:00 on hooks)',
    ]
    assert result['nothing trained'] == ['INFO: Done running in 0:00:00 (0:00:00 on hooks)']
