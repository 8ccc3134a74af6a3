from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "nwa_lightning._nw",
            sources=["src_ext/_nw.pyx", "src_ext/nw_fill.c", "src_ext/row_jsd.c", "src_ext/edit_band.c"],
            depends=[
                f"src_ext/{name}.h"
                for kernel in ("nw_fill", "row_jsd", "edit_band")
                for name in (kernel, f"{kernel}_lanes")
            ],
            extra_compile_args=["-O3"],
        )
    ]
)
