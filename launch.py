"""The command line of saltjax in a checkout; the same as the command `saltjax`.

python launch.py --config=configs/unet_strided.py --config.model.skip=False
"""

from saltjax import start

if __name__ == "__main__":
    start.main()
