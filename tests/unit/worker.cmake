# SPDX-License-Identifier: MPL-2.0
stint_unit_test(worker_capture worker_keeper)
stint_unit_test(worker_command worker_pool)
stint_unit_test(worker_keeper worker_keeper)
stint_unit_test(worker_pool worker_pool)
