from ddselect.cli import main

main()
